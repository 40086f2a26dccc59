"""Attention weights of a trained model, for people to look at.

Fused kernels do not return their weights, so hooks record each kernel's inputs and the weights are computed from them
step by step. A layer without attention, such as an LSTM's, has no weights: None.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_transformer.batch import TranslationBatch
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.components.mixers.local import LocalAttention
from lit_transformer.layers import Stack
from lit_transformer.transformer import Transformer

KernelInputs = dict[int, tuple[Any, ...]]
"""Queries, keys, values, mask and bias of each kernel, by the kernel's id."""


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The weights of one sentence pair per layer, bottom first; on the CPU, float32.

    S source tokens, EOS last; T target tokens. Row t of the decoder belongs to the position that reads tgt_in[t] (BOS
    first) and predicts tgt_out[t] (EOS last). Each row sums to 1, except with talking heads.
    """

    encoder: list[Tensor | None]
    """(H, S, S) each; None for a layer whose mixer is no attention."""
    decoder: list[Tensor | None]
    """(H, T, T) each: columns are tgt_in. None for a layer whose mixer is no attention."""
    cross: list[Tensor | None]
    """(H, T, S) each; None for a layer that reads the source without attention."""


@torch.inference_mode()
def attention_maps(network: Transformer, src: list[int], tgt: list[int]) -> AttentionMaps:
    """Return all attention weights of a network in eval() for a sentence pair, ids without BOS and EOS."""
    batch = TranslationBatch.from_pairs([(src, tgt)]).to(network.output_embedding.weight.device)
    with record_kernel_inputs(network) as inputs:
        network.hidden(batch)
    return AttentionMaps(
        _weights(network.encoder, "mixer", inputs, batch.src_layout.max_seqlen),
        _weights(network.decoder, "mixer", inputs, batch.tgt_layout.max_seqlen),
        _weights(network.decoder, "cross", inputs, batch.tgt_layout.max_seqlen),
    )


def cross_attention(network: Transformer, src: list[int], tgt: list[int]) -> Tensor | None:
    """Return the cross-attention weights (layers, H, T, S); None where no layer has any. See `AttentionMaps`."""
    layers = [layer for layer in attention_maps(network, src, tgt).cross if layer is not None]
    return torch.stack(layers) if layers else None


def _weights(stack: Stack, name: str, inputs: KernelInputs, length: int) -> list[Tensor | None]:
    """Compute the weights of the sub-layers of one name for `length` queries, (H, Q, K) per layer."""
    layers: list[Tensor | None] = []
    for sublayer_name, sublayer in stack.sublayers():
        if sublayer_name != name:
            continue
        attention = attention_of(sublayer)
        if attention is None:
            layers.append(None)
            continue
        queries, keys, _, mask, bias = inputs[id(attention.kernel)]
        weights = attention.kernel.weights(queries, keys, mask, bias)  # (1, H, Q, K), or blocks (P, H, window, keys)
        if isinstance(attention, LocalAttention) and len(weights) > 1:
            weights = attention.band.square(weights, length)[None]
        layers.append(weights[0].float().cpu())
    return layers


def attention_of(sublayer: nn.Module) -> MultiHeadAttention | None:
    """Return the attention in a sub-layer, None where it has none."""
    return next((module for module in sublayer.modules() if isinstance(module, MultiHeadAttention)), None)


@contextmanager
def record_kernel_inputs(network: Transformer) -> Iterator[KernelInputs]:
    """Record the inputs of each kernel in the block; the last pass counts. What is compiled runs without hooks."""
    inputs: KernelInputs = {}
    hooks = [
        module.kernel.register_forward_pre_hook(lambda kernel, args: inputs.update({id(kernel): args}))
        for module in network.modules()
        if isinstance(module, MultiHeadAttention)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()
