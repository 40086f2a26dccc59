"""Initial values: a law for every matrix of a model, then factors by its stack, its layer and what it is for."""

from collections.abc import Callable
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lit_transformer.components.sublayer import deep_norm
from lit_transformer.config import Initialisation, ModelConfig, Placement


class Place(NamedTuple):
    """Where a matrix stands: in the decoder or not, in which layer from 1, and whether it carries what is said.

    What carries are the feed-forward network, but for a router of experts, and of attention the value and the output
    matrix; of another mixer its output matrix, where it has one. Queries, keys and gates only decide who is heard.
    """

    causal: bool
    layer: int
    carries: bool


def initialise(model: nn.Module, config: ModelConfig) -> None:
    """Draw linear and recurrent layers and embeddings anew, in order of registration; other parts keep their start.

    By the configured law, biases 0, embeddings N(0, 1/d_model).

    With embeddings of that deviation, sqrt(d_model) times an embedding has unit variance, as positions have, and the
    tied softmax starts with logits of unit variance. `deep_norm` shrinks what any law gave.
    """
    draw = _law(config.initialisation)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
            _multiply(module.weight, _factor(config, name))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=config.d_model**-0.5 * _embedding_factor(config, name))
        elif isinstance(module, nn.RNNBase):  # the matrices of its gates stand in one
            for parameter in module.parameters():
                (draw if parameter.dim() > 1 else nn.init.zeros_)(parameter)
                _multiply(parameter, _factor(config, name))


def _law(kind: Initialisation) -> Callable[[Tensor], Tensor]:
    match kind:
        case Initialisation.xavier_uniform | Initialisation.depth_scaled | Initialisation.t_fixup:
            return nn.init.xavier_uniform_
        case Initialisation.normal:
            return lambda weight: nn.init.normal_(weight, std=0.02)
        case _:
            assert_never(kind)


def _place(name: str) -> Place | None:
    """Read the place of a module from its name in the model; None where it stands in no layer."""
    stack, _, rest = name.partition(".layers.")
    if not rest:
        return None
    number, _, sublayer, *inside = rest.split(".")  # such as 0.sublayers.feed_forward.inner.inner.widen
    carrying = inside[-1] != "router" if sublayer == "feed_forward" else inside[-1] in ("value", "output")
    return Place(stack == "decoder", int(number) + 1, inside[0] == "inner" and carrying)


def _factor(config: ModelConfig, name: str) -> float:
    """Return what a matrix is multiplied by after its law; M is the decoder's number of layers, N the encoder's.

    `depth_scaled` (DS-Init, Zhang et al. 2019): 1/sqrt(l) in layer l of its stack, their alpha being 1.
    `t_fixup` (Huang et al. 2020): what carries times 0.67 N^(-1/4) in the encoder, (9M)^(-1/4) in the
    decoder. `deep_norm` (Wang et al. 2022, Figure 2), a placement of norms: what carries times beta.
    """
    place = _place(name)
    if place is None:
        return 1.0
    shrinks = place.carries and config.norm.placement is Placement.deep_norm
    beta = deep_norm(config, place.causal).beta if shrinks else 1.0
    match config.initialisation:
        case Initialisation.xavier_uniform | Initialisation.normal:
            return beta
        case Initialisation.depth_scaled:
            return beta * place.layer**-0.5
        case Initialisation.t_fixup:
            fixup = (9 * config.decoder_layers) ** -0.25 if place.causal else 0.67 * config.encoder_layers**-0.25
            return beta * (fixup if place.carries else 1.0)
        case _:
            assert_never(config.initialisation)


def _embedding_factor(config: ModelConfig, name: str) -> float:
    """Return what shrinks an embedding: `t_fixup` (9M)^(-1/4) at both inputs, and so a softmax matrix tied to one.

    Of T-Fixup these are the initial values only: that it then needs no norms and no warm-up are other choices,
    `model.norm.kind` and `optim.warmup`.
    """
    at_input = name.startswith(("src_embedding.", "tgt_embedding."))
    return (9 * config.decoder_layers) ** -0.25 if config.initialisation is Initialisation.t_fixup and at_input else 1.0


def _multiply(matrix: Tensor, factor: float) -> None:
    with torch.no_grad():
        matrix.mul_(factor)
