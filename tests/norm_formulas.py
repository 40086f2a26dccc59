"""What each norm makes of packed tokens, by its formula."""

import torch
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.norms import build_instance_norm, build_norm
from lit_transformer.config import Norm, NormConfig
from tests.small_models import BASE

D = BASE.d_model
LENGTHS = [3, 4]
LAYOUT = Layout.from_lengths(torch.tensor(LENGTHS))


def standard(x: Tensor, dim: int, eps: float) -> Tensor:
    return (x - x.mean(dim, keepdim=True)) / (x.var(dim, keepdim=True, unbiased=False) + eps).sqrt()


def norm_of(config: NormConfig, d_model: int, causal: bool) -> nn.Module:
    """Build a norm of any kind."""
    if config.kind is Norm.instance:
        return build_instance_norm(config, d_model, causal)
    return build_norm(config, d_model)


FORMULAS = {  # of a norm of the encoder that was just built, in training; x (7, D) are sentences of LENGTHS
    Norm.layer: lambda x, eps: standard(x, -1, eps),
    Norm.rms: lambda x, eps: x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt(),
    Norm.batch: lambda x, eps: standard(x, 0, eps),
    Norm.instance: lambda x, eps: torch.cat([standard(sentence, 0, eps) for sentence in x.split(LENGTHS)]),
    Norm.group: lambda x, eps: standard(x.view(len(x), 8, -1), -1, eps).flatten(1),
    Norm.scale: lambda x, eps: D**0.5 * x / x.norm(dim=-1, keepdim=True).clamp(min=eps),
    Norm.dyt: lambda x, eps: (x / 2).tanh(),
    Norm.none: lambda x, eps: x,
}
