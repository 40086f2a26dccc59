"""Initial weights: one law for every matrix of a model, whatever its components."""

from collections.abc import Callable
from typing import assert_never

from torch import Tensor, nn

from lit_transformer.config import Initialisation


def initialise(model: nn.Module, kind: Initialisation, d_model: int) -> None:
    """Draw every parameter anew, in order of registration: matrices by `kind`, biases 0, embeddings N(0, 1/d_model).

    With embeddings of that deviation, sqrt(d_model) times an embedding has unit variance, as positions have, and the
    tied softmax starts with logits of unit variance.
    """
    draw = _law(kind)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=d_model**-0.5)
        elif isinstance(module, nn.RNNBase):  # the matrices of its gates stand in one
            for parameter in module.parameters():
                (draw if parameter.dim() > 1 else nn.init.zeros_)(parameter)


def _law(kind: Initialisation) -> Callable[[Tensor], Tensor]:
    match kind:
        case Initialisation.xavier_uniform:
            return nn.init.xavier_uniform_
        case Initialisation.normal:
            return lambda weight: nn.init.normal_(weight, std=0.02)
        case _:
            assert_never(kind)
