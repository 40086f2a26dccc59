"""Mixtures of experts: a router sends every token to a few of several feed-forward networks.

In shapes E is the number of experts, and k of them are active per token.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_transformer.components.cost import Cost, CostedModule, linear_cost

ROWS = 16
"""In evaluation each expert's tokens are padded to a multiple of this; see `Experts`."""


class Experts(CostedModule):
    """The sum of the k most probable experts' outputs, each times its probability (Shazeer et al. 2017, eq. 1).

    The router is a matrix without bias, its softmax goes over all experts and is not renormalised over the chosen,
    as in Fedus et al. 2022, eq. 1 and 2, there for k = 1; Shazeer et al. 2017 take it over the chosen only, and add
    noise, which is left out. Dropless: no expert has a capacity, so a token's result does not depend on the batch.
    The router computes in its weights' precision, under autocast too (Fedus et al. 2022, 2.4).

    The tokens of each expert are gathered, so that a mixture costs what k experts cost; their numbers are read from the
    device once per pass. Products of few and of many rows round differently, so that the tokens sharing an expert could
    change each other's last bit. Evaluation pads the rows of each expert to a multiple of 16, which rules that out in
    float32 on a CPU.
    """

    def __init__(self, experts: list[nn.Module], d_model: int, top_k: int, balance: float) -> None:
        super().__init__()
        self.router = nn.Linear(d_model, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.top_k = top_k
        self.balance = balance
        self.imbalance: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        probabilities = self.probabilities(x)  # (N, E)
        weights, chosen = probabilities.topk(self.top_k)  # (N, k) both
        counts = chosen.flatten().bincount(minlength=len(self.experts))  # (E,)
        if self.training:
            self.imbalance = imbalance(probabilities, counts)
        order = chosen.flatten().argsort(stable=True)  # (N*k,) choices, those of one expert together
        groups = x.index_select(0, order // self.top_k).split(counts.tolist())
        outputs = torch.cat([self._run(expert, group) for expert, group in zip(self.experts, groups, strict=True)])
        # outputs: (N*k, D)
        by_token = outputs.index_select(0, order.argsort()).unflatten(0, (-1, self.top_k))  # (N, k, D)
        return (by_token * weights[..., None]).sum(1)

    def probabilities(self, x: Tensor) -> Tensor:
        """Return the router's softmax over the experts: (N, D) -> (N, E)."""
        with torch.autocast(x.device.type, enabled=False):
            return cast(Tensor, self.router(x.to(self.router.weight.dtype))).softmax(-1)

    def balance_loss(self) -> Tensor | None:
        """Return, once, the weighted balance loss of the last pass in training; None where there was none."""
        imbalance, self.imbalance = self.imbalance, None
        return None if imbalance is None else self.balance * imbalance

    def cost(self) -> Cost:
        """Return the operations of the router and of k experts, all of one size."""
        return Cost(query=linear_cost(self.router) + self.top_k * linear_cost(self.experts[0]))

    def inactive_parameters(self) -> int:
        """Return the number of parameters that one token does not use: those of all experts but k."""
        per_expert = sum(parameter.numel() for parameter in self.experts[0].parameters())
        return (len(self.experts) - self.top_k) * per_expert

    def _run(self, expert: nn.Module, group: Tensor) -> Tensor:
        """Run one expert over its own tokens: (M, D) -> (M, D), M from 0 to N."""
        missing = 0 if self.training else -len(group) % ROWS
        y: Tensor = expert(F.pad(group, (0, 0, 0, missing)))
        return y[: len(group)]


def imbalance(probabilities: Tensor, counts: Tensor) -> Tensor:
    """Return E * sum_e f_e P_e: 1 where all experts are equally busy, E where one does everything.

    probabilities (N, E), counts (E,) of the tokens sent to each expert. f_e is the fraction of all assignments that go
    to expert e, P_e its mean probability (Fedus et al. 2022, eq. 4 to 6, with k = 1). Only P_e has a gradient.
    """
    shares = counts / counts.sum()  # (E,)
    return len(counts) * (shares * probabilities.mean(0)).sum()
