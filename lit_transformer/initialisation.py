"""Initial values: a distribution for every matrix, then a factor by its stack, its layer and its role."""

from collections.abc import Callable
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.components.sublayer import deep_norm_scales
from lit_transformer.config import Initialisation, ModelConfig, Placement


class Place(NamedTuple):
    """Where a matrix is: in the decoder or not, in which layer from 1, on the value path, and an input projection.

    On the value path are the matrices of the feed-forward network, except the router of experts, the value and output
    projections of attention, and the output projection of another mixer. Queries, keys and gates only weigh values.
    Input projections, `qkv`, are W_Q, W_K and W_V of self- and cross-attention.
    """

    causal: bool
    layer: int
    value_path: bool
    qkv: bool


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Draw linear and recurrent layers from the configured distribution, biases 0, and embeddings from N(0, 1/d_model).

    In order of registration; other modules keep the values of their constructors. With that deviation sqrt(d_model)
    times an embedding has unit variance, as positions have, and a tied output embedding starts with logits of unit
    variance. DeepNorm's factor applies to any distribution.
    """
    draw = _distribution(config.initialisation)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
            _multiply(module.weight, _factor(config, name))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.d_model**-0.5 * _embedding_factor(config, name))
        elif isinstance(module, nn.RNNBase):  # the matrices of all gates are one parameter
            for parameter in module.parameters():
                (draw if parameter.dim() > 1 else nn.init.zeros_)(parameter)
                _multiply(parameter, _factor(config, name))


def _distribution(kind: Initialisation) -> Callable[[Tensor], Tensor]:
    match kind:
        case (
            Initialisation.xavier_uniform
            | Initialisation.xavier_fused_qkv
            | Initialisation.depth_scaled
            | Initialisation.t_fixup
        ):
            return nn.init.xavier_uniform_
        case Initialisation.normal:
            return lambda weight: nn.init.normal_(weight, std=0.02)
        case _:
            assert_never(kind)


def _place(name: str) -> Place | None:
    """Read the place of a module from its name in the model; None where it is in no layer."""
    stack, _, rest = name.partition(".layers.")
    if not rest:
        return None
    number, _, sublayer, *inside = rest.split(".")  # such as 0.sublayers.feed_forward.inner.fc1
    value_path = inside[-1] != "router" if sublayer == "feed_forward" else inside[-1] in ("value", "out_proj")
    qkv = inside[-1] in ("query", "key", "value")
    return Place(stack == "decoder", int(number) + 1, value_path and "residual" not in inside, qkv)


def _factor(config: ModelConfig, name: str) -> float:
    """Return the factor on a matrix after it was drawn; N and M are the numbers of encoder and decoder layers.

    `xavier_fused_qkv` (Ott et al. 2019 in fairseq; torch.nn.MultiheadAttention): 1/sqrt(2) on W_Q, W_K and W_V, since
    Xavier's variance is 2/(D + 3D) for the three as one matrix and 2/(D + D) for each; of other shapes, too, as in
    fairseq. `depth_scaled` (DS-Init, Zhang et al. 2019, with alpha = 1): 1/sqrt(l) in layer l of its stack. `t_fixup`
    (Huang et al. 2020): on the value path 0.67 N^(-1/4) in the encoder, (9M)^(-1/4) in the decoder. `deep_norm` (Wang
    et al. 2022, Figure 2), a placement of norms: on the value path beta, whatever the distribution.
    """
    place = _place(name)
    if place is None:
        return 1.0
    scaled = place.value_path and config.norm.placement is Placement.deep_norm
    beta = deep_norm_scales(config, place.causal).beta if scaled else 1.0
    match config.initialisation:
        case Initialisation.xavier_uniform | Initialisation.normal:
            return beta
        case Initialisation.xavier_fused_qkv:
            return beta * (0.5**0.5 if place.qkv else 1.0)
        case Initialisation.depth_scaled:
            return beta * place.layer**-0.5
        case Initialisation.t_fixup:
            fixup = (9 * config.decoder_layers) ** -0.25 if place.causal else 0.67 * config.encoder_layers**-0.25
            return beta * (fixup if place.value_path else 1.0)
        case _:
            assert_never(config.initialisation)


def _embedding_factor(config: ModelConfig, name: str) -> float:
    """Return the factor on an embedding: with `t_fixup` (9M)^(-1/4) at both inputs, and so on a tied output embedding.

    T-Fixup's initial values only; to train without norms and warm-up are other choices, `model.norm.kind` and
    `optim.warmup`.
    """
    at_input = name.startswith(("src_embedding.", "tgt_embedding."))
    return (9 * config.decoder_layers) ** -0.25 if config.initialisation is Initialisation.t_fixup and at_input else 1.0


def _multiply(matrix: Tensor, factor: float) -> None:
    with torch.no_grad():
        matrix.mul_(factor)
