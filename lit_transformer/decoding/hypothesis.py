"""Translations, their scores, and the prefix tree of a beam search."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lit_transformer.tokens import BOS


class Hypothesis(NamedTuple):
    """A translation: `tokens` without BOS and EOS.

    `log_prob` is log P(Y | X) in nats, including EOS where it was produced; `score` is `log_prob` divided by
    `length_penalty` of the number of tokens produced, including EOS likewise.
    """

    tokens: list[int]
    score: float
    log_prob: float


def length_penalty(length: int, alpha: float) -> float:
    """Return ((5 + length) / 6) ** alpha: Wu et al. 2016, eq. 14, without its coverage term."""
    return ((5 + length) / 6) ** alpha


@dataclass
class HypothesisTree:
    """All prefixes of a beam search: a node is a token and its parent node; node 0 is BOS.

    The search handles node numbers instead of copying token sequences, and reads the best ones back once.
    """

    tokens: list[Tensor] = field(default_factory=list)
    parents: list[Tensor] = field(default_factory=list)
    size: int = 1

    def grow(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Add a child with each of `tokens` to each of `parents`, of any equal shape; return the new nodes."""
        nodes = torch.arange(self.size, self.size + tokens.numel(), device=tokens.device).view_as(tokens)
        self.tokens.append(tokens.flatten())
        self.parents.append(parents.flatten())
        self.size += tokens.numel()
        return nodes

    def read(self, nodes: list[int]) -> list[list[int]]:
        """Return the tokens from BOS, excluded, to each node."""
        tokens = [BOS, *torch.cat(self.tokens).tolist()] if self.tokens else [BOS]
        parents = [0, *torch.cat(self.parents).tolist()] if self.parents else [0]
        sequences = []
        for node in nodes:
            backwards = []
            while node:
                backwards.append(tokens[node])
                node = parents[node]
            sequences.append(backwards[::-1])
        return sequences
