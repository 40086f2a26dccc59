"""The twin of the whole network."""

import math

import torch
from torch import Tensor, nn

from lit_transformer.batch import TranslationBatch
from lit_transformer.components.sublayer import Sublayer
from lit_transformer.config import ModelConfig, Placement
from lit_transformer.transformer import TokenEmbedding, Transformer
from tests.twins.cross import naive_cross
from tests.twins.feed_forward import naive_feed_forward
from tests.twins.mixers import naive_mixer
from tests.twins.norms import naive_bypass, naive_norm, naive_residual
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
        bottom = x
        names = list(layer.sublayers)
        for name, sublayer in layer.sublayers.items():
            entered = naive_entry(config, sublayer, x, causal)
            if name == "mixer":
                y = naive_mixer(config, sublayer.inner, entered, causal, index)
            elif name == "cross":
                y = naive_cross(config, sublayer.inner, entered, memory)
            else:
                y = naive_feed_forward(config, sublayer.inner, entered)
            x = naive_exit(config, name, sublayer, x, y, bottom if name == names[-1] else None, causal)
    return naive_final(config, stack, x, causal)


NORM_BEFORE = (Placement.pre, Placement.sandwich, Placement.norm_former)
NORM_AFTER = (Placement.post, Placement.deep_norm, Placement.b2t)


def naive_entry(config: ModelConfig, sublayer: Sublayer, x: Tensor, causal: bool) -> Tensor:
    if config.norm.placement in NORM_BEFORE:
        return naive_norm(config, sublayer.norm_before, x, causal)
    assert config.norm.placement in NORM_AFTER
    return x


def naive_exit(
    config: ModelConfig, name: str, sublayer: Sublayer, x: Tensor, y: Tensor, bottom: Tensor | None, causal: bool
) -> Tensor:
    """Join a sub-layer's output to its input; bottom is what entered the layer, at its last sub-layer only."""
    placement = config.norm.placement
    if placement is Placement.sandwich or (placement is Placement.norm_former and name in ("mixer", "cross")):
        y = naive_norm(config, sublayer.norm_behind, y, causal)
    joined = naive_residual(config, sublayer.residual, naive_bypass(config, x, bottom, causal), y)
    if placement in NORM_AFTER:
        return naive_norm(config, sublayer.norm_after, joined, causal)
    return joined


def naive_final(config: ModelConfig, stack: nn.Module, x: Tensor, causal: bool) -> Tensor:
    if config.norm.placement in NORM_BEFORE:
        return naive_norm(config, stack.norm, x, causal)
    return x
