"""Recurrent networks (Hochreiter and Schmidhuber 1997; Cho et al. 2014), in the encoder as `directions` says.

torch's networks read packed sequences: the tokens of place 0 of all sentences, the longest sentence first, then those
of place 1, and so on. So the cost follows the real tokens, and the backward reading starts at each sentence's own end.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lit_transformer.batch import Layout
from lit_transformer.components.part import Cost, Part, Rows, linear_cost


class Recurrent(Part):
    """A recurrent layer, and a linear layer from its units, of both directions if there are two, to d_model.

    The past is the state: (R, 1, units), for an LSTM twice. On CUDA a layout that is no rectangle waits for the device
    once, since the network wants the numbers of sentences a place on the host.
    """

    def __init__(self, network: nn.LSTM | nn.GRU, d_model: int) -> None:
        super().__init__()
        self.network = network
        directions = 2 if network.bidirectional else 1
        self.output = nn.Linear(directions * network.hidden_size, d_model)

    def forward(self, x: Tensor, layout: Layout, past: Rows | None = None) -> tuple[Tensor, Rows]:
        """(N, D) -> (N, D) and the state after each sentence's last token."""
        order = by_place(layout)
        sequence = PackedSequence(x.index_select(0, order.tokens), order.sizes, order.sentences, order.sentences_back)
        state = None if past is None else _for_torch(past.tensors)
        read, state = self.network(sequence, state)
        y = self.output(read.data.index_select(0, order.tokens_back))
        return y, Rows(_row_first(state))

    def cost(self) -> Cost:
        matrices = (weight for name, weight in self.network.named_parameters() if name.startswith("weight"))
        return Cost(query=linear_cost(self) + sum(2 * weight.numel() for weight in matrices))


class ByPlace(NamedTuple):
    """Tokens by their place, and in one place the longest sentence first.

    tokens (N,) rows of the packed tensor in that order; tokens_back (N,) the way back; sizes (L,) on the host, how many
    sentences have each place; sentences (B,) and sentences_back (B,) the order of sentences and the way back.
    """

    tokens: Tensor
    tokens_back: Tensor
    sizes: Tensor
    sentences: Tensor
    sentences_back: Tensor


def by_place(layout: Layout) -> ByPlace:
    """Return the order in which torch's recurrent networks read."""
    sentences = layout.lengths.argsort(descending=True, stable=True)  # (B,)
    back = sentences.argsort()
    tokens = (layout.positions * layout.sentences + back[layout.cells // layout.longest]).argsort()  # (N,)
    sizes = torch.full((layout.longest,), layout.sentences) if layout.rectangular else layout.mask.sum(0).cpu()
    return ByPlace(tokens, tokens.argsort(), sizes, sentences, back)


def _for_torch(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    turned = tuple(part.transpose(0, 1).contiguous() for part in state)  # (1, R, units)
    return turned if len(turned) > 1 else turned[0]


def _row_first(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    parts = (state,) if isinstance(state, Tensor) else state
    return tuple(part.transpose(0, 1) for part in parts)  # (R, directions, units)
