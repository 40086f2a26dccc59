"""The most probable next tokens of each hypothesis, PAD and BOS excluded."""

import torch
from torch import Tensor

from lit_transformer.tokens import BOS, EOS, PAD

BLOCK = 64  # columns; of 32, 64 and 128 the fastest for V = 8000 and beam 4 on one CPU thread
FIRST = EOS + 1  # the first id that is a word
assert {PAD, BOS, EOS} == set(range(FIRST)), "special ids come first, so that words are a slice of the vocabulary"


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row of (R, V), sorted, and their columns: `torch.topk` in half its time on a CPU.

    The k largest are in the k blocks with the largest maxima, or in the columns after the last whole block. For k = 1
    the first of equal values is returned, as by `torch.argmax`.
    """
    columns = values.shape[1]
    blocks = columns // BLOCK
    if blocks <= 2 * k:
        return _topk(values, k)
    edge = blocks * BLOCK
    blocked = values[:, :edge].unflatten(1, (blocks, BLOCK))  # (R, V / BLOCK, BLOCK)
    best = _topk(blocked.amax(2), k)[1]  # (R, k)
    inside = blocked.gather(1, best[:, :, None].expand(-1, -1, BLOCK)).flatten(1)  # (R, k * BLOCK)
    top, place = _topk(torch.cat([inside, values[:, edge:]], 1), k)
    block = (place // BLOCK).clamp(max=k - 1)
    return top, torch.where(place < k * BLOCK, best.gather(1, block) * BLOCK + place % BLOCK, place - k * BLOCK + edge)


def word_candidates(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of logits (R, V), the log-probability of EOS (R,) and of the k best words (R, k), and those words (R, k).

    The probabilities are the model's, over all V tokens, including PAD and BOS, which are not returned. The normaliser
    is computed in float32 and subtracted in float64, which keeps the order of the logits within a row.
    """
    top, place = largest(logits[:, FIRST:], min(k, logits.shape[1] - FIRST))  # (R, k)
    dtype = summing_dtype(logits.device)
    top = top.to(dtype)
    normalised = logits.float().log_softmax(1).gather(1, place[:, :1] + FIRST)  # (R, 1)
    normaliser = top[:, :1] - normalised.to(dtype)  # (R, 1)
    return logits[:, EOS].to(dtype) - normaliser[:, 0], top - normaliser, place + FIRST


def best_token(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-probability (R,) and id (R,) of the most probable token except PAD and BOS, logits (R, V)."""
    _, place = largest(logits[:, EOS:], 1)
    token = place + EOS  # (R, 1)
    return logits.float().log_softmax(1).gather(1, token)[:, 0].to(summing_dtype(logits.device)), token[:, 0]


def _topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    top, place = values.max(1, keepdim=True) if k == 1 else values.topk(k, 1)
    return top, place


def summing_dtype(device: torch.device) -> torch.dtype:
    """Return the type in which log-probabilities are summed over a sentence."""
    return torch.float32 if device.type == "mps" else torch.float64  # Apple GPUs have no float64
