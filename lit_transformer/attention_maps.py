"""Attention weights of a trained model, for people to look at.

Fused kernels do not hand out their weights, so the inputs of each kernel are caught on their way in and the weights
are computed again, slowly and plainly. Nothing in the model knows of this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.components.attention import CrossAttention
from lit_transformer.components.kernels import FusedKernel, PlainKernel
from lit_transformer.transformer import Transformer

Caught = tuple[FusedKernel | PlainKernel, tuple[Any, ...]]  # a kernel, and what it was given


@torch.inference_mode()
def cross_attention(network: Transformer, src: list[int], tgt: list[int]) -> Tensor:
    """Return the weights (layers, H, T, S) with which each target place looks at the source, teacher-forced.

    `src` and `tgt` are ids without BOS and EOS. Row t belongs to the place that says tgt_out[t], EOS last; column s to
    the source token s, EOS last. Each row sums to 1.
    """
    batch = TranslationBatch.from_pairs([(src, tgt)]).to(network.softmax.weight.device)
    with _caught_inputs(network) as caught:
        network.hidden(batch)
    return torch.stack(
        [kernel.weights(queries, keys, view, bias)[0] for kernel, (queries, keys, _, view, bias) in caught]
    )


@contextmanager
def _caught_inputs(network: Transformer) -> Iterator[list[Caught]]:
    caught: list[Caught] = []
    hooks = [
        cast(CrossAttention, sublayer.inner).kernel.register_forward_pre_hook(
            lambda kernel, inputs: caught.append((kernel, inputs))
        )
        for name, sublayer in network.decoder.sublayers()
        if name == "cross"
    ]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()
