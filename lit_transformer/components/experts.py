"""Mixtures of experts: every token meets a few of several networks, chosen for it by a router.

In shapes E is the number of experts here, and k of them meet a token.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.batch import Layout
from lit_transformer.components.part import Cost, Part, linear_cost

ROWS = 16
"""In evaluation an expert's tokens are filled up to a multiple of this; see `Experts`."""


class Experts(Part):
    """The sum of the k most probable experts' outputs, each times its probability (Shazeer et al. 2017, eq. 1).

    The router is a matrix without bias, its softmax goes over all experts and is not renormalised over the chosen,
    as in Fedus et al. 2022, eq. 1 and 2, there for k = 1; Shazeer et al. 2017 take it over the chosen only, and add
    noise, which is left out. Dropless: no expert has a capacity, so a token's result does not depend on the batch.
    The router computes in its weights' precision, under autocast too (Fedus et al. 2022, 2.4).

    The tokens of each expert stand together, so that a mixture costs what its k experts cost; how many they are is
    read from the device once a pass. A product of a few rows rounds otherwise than one of many, so that a token could
    be changed in its last bit by the tokens that share its expert. Evaluation fills the rows of each expert up to a
    multiple of 16, which rules that out in float32 on a CPU.
    """

    def __init__(self, experts: list[nn.Module], d_model: int, top_k: int, balance: float) -> None:
        super().__init__()
        self.router = nn.Linear(d_model, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top_k = top_k
        self.balance = balance
        self.imbalance: Tensor | None = None

    def forward(self, x: Tensor, layout: Layout, past: None = None) -> tuple[Tensor, None]:
        """(N, D) -> (N, D)."""
        probabilities = self.probabilities(x)  # (N, E)
        weights, chosen = probabilities.topk(self.top_k)  # (N, k) both
        counts = chosen.flatten().bincount(minlength=len(self.experts))  # (E,)
        if self.training:
            self.imbalance = imbalance(probabilities, counts)
        order = chosen.flatten().argsort(stable=True)  # (N*k,) choices, those of one expert together
        groups = x.index_select(0, order // self.top_k).split(counts.tolist())
        outputs = torch.cat([self._output(number, group) for number, group in enumerate(groups)])  # (N*k, D)
        by_token = outputs.index_select(0, order.argsort()).unflatten(0, (-1, self.top_k))  # (N, k, D)
        return (by_token * weights[..., None]).sum(1), None

    def probabilities(self, x: Tensor) -> Tensor:
        """Return how much the router trusts each expert with each token: (N, D) -> (N, E), rows sum to 1."""
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.router(x.to(self.router.weight.dtype))).softmax(-1)

    def auxiliary_losses(self) -> dict[str, Tensor]:
        found, self.imbalance = self.imbalance, None
        return {} if found is None else {"balance": self.balance * found}

    def cost(self) -> Cost:
        """Return the operations of the router and of k experts, all of one size."""
        return Cost(query=linear_cost(self.router) + self.top_k * linear_cost(self.experts[0]))

    def idle_parameters(self) -> int:
        used = sum(parameter.numel() for parameter in self.experts[0].parameters())
        return (len(self.experts) - self.top_k) * used

    def _output(self, number: int, group: Tensor) -> Tensor:
        """Run one expert over its own tokens: (M, D) -> (M, D), M from 0 to N."""
        missing = 0 if self.training else -len(group) % ROWS
        filled = F.pad(group, (0, 0, 0, missing))
        y: Tensor = self.experts[number](filled)
        return y[: len(group)]


def imbalance(probabilities: Tensor, counts: Tensor) -> Tensor:
    """Return E * sum_e f_e P_e: 1 where all experts are equally busy, E where one does everything.

    probabilities (N, E), counts (E,) of the tokens sent to each expert. f_e is the share of all choices that fell on
    expert e, P_e its mean probability (Fedus et al. 2022, eq. 4 to 6, where each token has one choice). Only P_e has a
    gradient.
    """
    shares = counts / counts.sum()  # (E,)
    return len(counts) * (shares * probabilities.mean(0)).sum()
