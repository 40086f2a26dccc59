"""Recurrent networks (Hochreiter and Schmidhuber 1997; Cho et al. 2014), in the encoder as `directions` says.

torch's networks read packed sequences: the tokens at position 0 of all sentences, the longest sentence first, then
those at position 1, and so on. So the cost is that of the real tokens, and reading backwards starts at each sentence's
own end.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lit_transformer.batch import Layout
from lit_transformer.components.cache import TensorCache
from lit_transformer.components.cost import Cost, linear_cost
from lit_transformer.components.token_mixer import TokenMixer


class Recurrent(TokenMixer):
    """A recurrent layer, in one or two directions, and a linear layer from its units to d_model.

    The cache is the state: (R, 1, units), for an LSTM two of them. On CUDA a batch with padding waits for the device
    once, since torch wants the number of sentences per position on the host.
    """

    def __init__(self, network: nn.LSTM | nn.GRU, d_model: int) -> None:
        super().__init__()
        self.network = network
        directions = 2 if network.bidirectional else 1
        self.out_proj = nn.Linear(directions * network.hidden_size, d_model)

    def forward(self, x: Tensor, layout: Layout, cache: TensorCache | None = None) -> tuple[Tensor, TensorCache]:
        """(N, D) -> (N, D) and the state after each sentence's last token."""
        order = time_major(layout)
        sequence = PackedSequence(x.index_select(0, order.tokens), order.sizes, order.sentences, order.sentences_back)
        state = None if cache is None else _layer_first(cache.tensors)
        hidden, state = self.network(sequence, state)
        y = self.out_proj(hidden.data.index_select(0, order.tokens_back))
        return y, TensorCache(_row_first(state))

    def cost(self) -> Cost:
        matrices = (weight for name, weight in self.network.named_parameters() if name.startswith("weight"))
        return Cost(query=linear_cost(self) + sum(2 * weight.numel() for weight in matrices))


class TimeMajor(NamedTuple):
    """The order of tokens by position, at each position the longest sentence first.

    tokens (N,) indices into the packed tensor; tokens_back (N,) its inverse; sizes (L,) on the host, the number of
    sentences at each position; sentences (B,) and sentences_back (B,) the order of sentences and its inverse.
    """

    tokens: Tensor
    tokens_back: Tensor
    sizes: Tensor
    sentences: Tensor
    sentences_back: Tensor


def time_major(layout: Layout) -> TimeMajor:
    """Return the order in which torch's recurrent networks read."""
    sentences = layout.lengths.argsort(descending=True, stable=True)  # (B,)
    back = sentences.argsort()
    tokens = (layout.positions * layout.sentences + back[layout.sentence_ids]).argsort()  # (N,)
    sizes = torch.full((layout.max_seqlen,), layout.sentences) if layout.rectangular else layout.mask.sum(0).cpu()
    return TimeMajor(tokens, tokens.argsort(), sizes, sentences, back)


def _layer_first(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    tensors = tuple(tensor.transpose(0, 1).contiguous() for tensor in state)  # (1, R, units)
    return tensors if len(tensors) > 1 else tensors[0]


def _row_first(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    tensors = (state,) if isinstance(state, Tensor) else state
    return tuple(tensor.transpose(0, 1) for tensor in tensors)  # (R, directions, units)
