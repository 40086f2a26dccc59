"""Attention weights of a trained model, for people to look at.

Fused kernels do not hand out their weights, so the inputs of each kernel are caught on their way in and the weights
are computed again, slowly and plainly. Nothing in the model knows of this. A mixer that is no attention, such as an
LSTM, has no weights of this kind: its layer is None. So is what reads the source without attention.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.components.kernels import PlainKernel
from lit_transformer.components.mixers.local import LocalAttention
from lit_transformer.layers import Stack
from lit_transformer.transformer import Transformer

Caught = dict[int, tuple[Any, ...]]
"""What a kernel was given, queries, keys, values, view and bias, by the kernel's id."""


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The weights of one sentence pair, layer by layer, bottom first; on the CPU, float32.

    S source tokens, EOS last; T target tokens. A decoder's row t belongs to the place that reads tgt_in[t] (BOS first)
    and says tgt_out[t] (EOS last). Each row sums to 1, except where heads talk.
    """

    encoder: list[Tensor | None]
    """(H, S, S) each; None for a layer whose mixer is no attention."""
    decoder: list[Tensor | None]
    """(H, T, T) each: columns are tgt_in. None for a layer whose mixer is no attention."""
    cross: list[Tensor | None]
    """(H, T, S) each; None for a layer that reads the source without attention."""


@torch.inference_mode()
def attention_maps(network: Transformer, src: list[int], tgt: list[int]) -> AttentionMaps:
    """Return every weight of a network in eval() for a sentence pair, ids without BOS and EOS, teacher-forced."""
    batch = TranslationBatch.from_pairs([(src, tgt)]).to(network.softmax.weight.device)
    with caught_inputs(network) as caught:
        network.hidden(batch)
    return AttentionMaps(
        _weights(network.encoder, "mixer", caught, batch.src_layout.longest),
        _weights(network.decoder, "mixer", caught, batch.tgt_layout.longest),
        _weights(network.decoder, "cross", caught, batch.tgt_layout.longest),
    )


def cross_attention(network: Transformer, src: list[int], tgt: list[int]) -> Tensor | None:
    """Return the weights (layers, H, T, S) with which each target place looks at the source; see `AttentionMaps`.

    None where the decoder reads the source without attention.
    """
    found = [layer for layer in attention_maps(network, src, tgt).cross if layer is not None]
    return torch.stack(found) if found else None


def _weights(stack: Stack, name: str, caught: Caught, length: int) -> list[Tensor | None]:
    """Compute the weights of one kind of sub-layer, (H, Q, K) a layer, of `length` queries."""
    found: list[Tensor | None] = []
    for own, sublayer in stack.sublayers():
        if own != name:
            continue
        part = sublayer.inner
        kernel = kernel_of(part)
        if kernel is None:
            found.append(None)
            continue
        queries, keys, _, view, bias = caught[id(kernel)]
        weights = kernel.weights(queries, keys, view, bias)  # (1, H, Q, K), or in blocks (P, H, window, keys)
        if isinstance(part, LocalAttention) and len(weights) > 1:
            weights = part.band.square(weights, length)[None]
        found.append(weights[0].float().cpu())
    return found


def kernel_of(part: Any) -> PlainKernel | None:
    """Return the kernel of an attention, None for any other part."""
    return part.kernel if isinstance(part, MultiHeadAttention) else None


@contextmanager
def caught_inputs(network: Transformer) -> Iterator[Caught]:
    """Collect what each kernel is given in the passes of the block; the last pass counts.

    A compiled network runs as it is written meanwhile: what was compiled before knows nothing of the hooks.
    """
    caught: Caught = {}
    compiled = network.__dict__.pop("hidden", None)
    parts = [sublayer.inner for stack in (network.encoder, network.decoder) for _, sublayer in stack.sublayers()]
    hooks = [
        kernel.register_forward_pre_hook(lambda kernel, inputs: caught.update({id(kernel): inputs}))
        for part in parts
        if (kernel := kernel_of(part)) is not None
    ]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()
        if compiled:
            network.__dict__["hidden"] = compiled
