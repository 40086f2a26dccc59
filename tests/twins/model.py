"""The twin of the whole network."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lit_transformer.batch import TranslationBatch
from lit_transformer.components.norms import InstanceNorm
from lit_transformer.components.sublayer import Sublayer
from lit_transformer.components.token_mixer import Chain
from lit_transformer.config import ModelConfig, Placement
from lit_transformer.transformer import TokenEmbedding, Transformer
from tests.twins.cross import naive_cross
from tests.twins.feed_forward import naive_feed_forward
from tests.twins.mixers import naive_mixer
from tests.twins.norms import naive_norm, naive_residual, naive_shortcut
from tests.twins.positions import naive_positions


def naive_logits(model: Transformer, batch: TranslationBatch) -> Tensor:
    """Run every pair of a batch by itself: (N_t, V)."""
    sources = batch.src.split(batch.src_layout.lengths.tolist())
    targets = batch.tgt_in.split(batch.tgt_layout.lengths.tolist())
    return torch.cat([naive_pair(model, src, tgt) for src, tgt in zip(sources, targets, strict=True)])


def naive_pair(model: Transformer, src: Tensor, tgt_in: Tensor) -> Tensor:
    """(S,) and (T,) ids -> (T, V)."""
    memory = naive_stack(model.config, model.encoder, naive_embed(model.config, model.src_embedding, src, False), None)
    x = naive_embed(model.config, model.tgt_embedding, tgt_in, True)
    return naive_stack(model.config, model.decoder, x, memory) @ model.output_embedding.weight.T


def naive_embed(config: ModelConfig, embedding: TokenEmbedding, ids: Tensor, causal: bool) -> Tensor:
    x = embedding.vectors.weight[ids] * (math.sqrt(config.d_model) if config.embeddings.scale else 1.0)
    return x + naive_positions(config, embedding.positions, len(ids), causal).to(x)


def naive_stack(config: ModelConfig, stack: nn.Module, x: Tensor, memory: Tensor | None) -> Tensor:
    """(L, D) -> (L, D); with a memory (S, D) it is the decoder."""
    causal = memory is not None
    for index, layer in enumerate(stack.layers):
        layer_input = x
        names = list(layer.sublayers)
        for name, sublayer in layer.sublayers.items():
            modules = modules_of(sublayer)
            f_input = naive_entry(config, modules, x, causal)
            if name == "mixer":
                y = naive_mixer(config, modules.f, f_input, causal, index)
            elif name == "cross":
                y = naive_cross(config, modules.f, f_input, memory)
            else:
                y = naive_feed_forward(config, modules.f, f_input)
            x = naive_exit(config, name, modules, x, y, layer_input if name == names[-1] else None, causal)
    return naive_final(config, stack, x, causal)


class Modules(NamedTuple):
    """The modules of a sub-layer: f, its residual connection, and its norms in the order of the data."""

    f: nn.Module
    residual: nn.Module
    norms: list[nn.Module]


def modules_of(sublayer: nn.Module) -> Modules:
    """Return the modules of a sub-layer, whether its norms are its own or chained to it."""
    core = next(module for module in sublayer.modules() if isinstance(module, Sublayer))
    chained = [module for module in sublayer.modules() if isinstance(module, InstanceNorm)]
    inside = list(core.inner.links) if isinstance(core.inner, Chain) else [core.inner]
    (f,) = (module for module in inside if not isinstance(module, InstanceNorm))
    own = [module for name, module in core.named_children() if name in ("norm", "post_branch_norm")]
    return Modules(f, core.residual, chained or own)


NORM_BEFORE = (Placement.pre, Placement.sandwich, Placement.norm_former)
NORM_AFTER = (Placement.post, Placement.deep_norm, Placement.b2t)


def naive_entry(config: ModelConfig, modules: Modules, x: Tensor, causal: bool) -> Tensor:
    if config.norm.placement in NORM_BEFORE:
        return naive_norm(config, modules.norms[0], x, causal)
    assert config.norm.placement in NORM_AFTER
    return x


def naive_exit(
    config: ModelConfig, name: str, modules: Modules, x: Tensor, y: Tensor, layer_input: Tensor | None, causal: bool
) -> Tensor:
    """Join a sub-layer's output to its input; layer_input is given at the layer's last sub-layer only."""
    placement = config.norm.placement
    if placement is Placement.sandwich or (placement is Placement.norm_former and name in ("mixer", "cross")):
        y = naive_norm(config, modules.norms[1], y, causal)
    joined = naive_residual(config, modules.residual, naive_shortcut(config, x, layer_input, causal), y)
    if placement in NORM_AFTER:
        return naive_norm(config, modules.norms[0], joined, causal)
    return joined


def naive_final(config: ModelConfig, stack: nn.Module, x: Tensor, causal: bool) -> Tensor:
    if config.norm.placement in NORM_BEFORE:
        return naive_norm(config, stack.norm, x, causal)
    return x
