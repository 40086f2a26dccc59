"""Attention weights of a trained model, for people to look at.

Kernels do not hand out their weights, so the inputs of each cross-attention are caught on their way in and the
weights are computed again, slowly and plainly. Nothing in the model knows of this.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lit_transformer.batch import TranslationBatch
from lit_transformer.transformer import Transformer


@torch.inference_mode()
def cross_attention(network: Transformer, src: list[int], tgt: list[int]) -> Tensor:
    """Return the weights (layers, H, T, S) with which each target place looks at the source, teacher-forced.

    `src` and `tgt` are ids without BOS and EOS. Row t belongs to the place that says tgt_out[t], EOS last; column s to
    the source token s, EOS last. Each row sums to 1.
    """
    batch = TranslationBatch.from_pairs([(src, tgt)]).to(network.softmax.weight.device)
    with _caught_inputs(network) as caught:
        network.hidden(batch)
    maps = []
    for module, (x, layout, memory) in caught:
        queries = module.queries(x, layout)  # (1, H, T, E)
        scores = queries @ memory.keys.transpose(-1, -2) * module.scale  # (1, H, T, S)
        maps.append(scores.float().softmax(-1)[0])
    return torch.stack(maps)


@contextmanager
def _caught_inputs(network: Transformer) -> Iterator[list[tuple[Any, tuple[Any, ...]]]]:
    caught: list[tuple[Any, tuple[Any, ...]]] = []
    hooks = [
        layer.cross.inner.register_forward_pre_hook(lambda module, inputs: caught.append((module, inputs)))
        for layer in network.decoder_layers
    ]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()
