"""Averages of weights: the plain mean of several states of one network, and the moving average of its training.

A state is what `state_dict` returns. Floating-point entries are averaged, the running means and variances of batch
norm among them, as the released script of the paper's authors does with every variable. Those are not quite the
statistics that the averaged weights would see; no data are read to correct them. Whole numbers, such as the steps
that batch norm counts, are those of the newest state. Entries that are one tensor, tied matrices, stay one tensor.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state in the host's memory."""
    state = network.state_dict()
    copies = {name: state[name].to("cpu", copy=True) for name in set(_first_names(state).values())}
    return _all_names(copies, state)


def uniform_mean(states: Iterable[Weights]) -> dict[str, Tensor]:
    """Return the mean of states, read one after another; at least one, all of one network.

    Sums are in float64. n equal numbers of 32 bits or fewer have their own value as their mean, to the bit, as n times
    a number is exact there for any n below 2^29.
    """
    newest: Weights = {}
    sums: dict[str, Tensor] = {}
    count = 0
    for state in states:
        if count and state.keys() != newest.keys():
            raise ValueError("the states are of different networks: their names differ")
        newest, count = state, count + 1
        for name in set(_first_names(state).values()):
            if state[name].is_floating_point():
                value = state[name].double()
                sums[name] = sums[name] + value if name in sums else value
    if not count:
        raise ValueError("there is no state to average")
    means = {name: total.div(count).to(newest[name].dtype) for name, total in sums.items()}
    return _all_names({**newest, **means}, newest)


class MovingAverage:
    """The exponential moving average of a network's weights after each step, corrected for its start.

    After step t it is the weighted mean of the weights w_1 ... w_t, w_i weighing decay^(t - i): the recursion
    e_t = decay e_(t-1) + (1 - decay) w_t from e_0 = 0, divided by 1 - decay^t (Kingma and Ba 2015, 7.2). The initial
    weights have no part in it. It is kept as such, as e += r (w - e) with r = (1 - decay) / (1 - decay^t), on the
    network's device and in the type of its weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after an optimiser step."""
        state = network.state_dict()
        if not self.weights:
            self.weights = {name: state[name].clone() for name in dict.fromkeys(_first_names(state).values())}
        self.updates += 1
        rate = (1 - self.decay) / (1 - self.decay**self.updates)
        moving = [name for name, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in moving], [state[name] for name in moving], rate)
        for name in self.weights.keys() - set(moving):
            self.weights[name].copy_(state[name])

    def averaged(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the average as a state of the network, in the host's memory; at least one step was taken in."""
        if not self.weights:
            raise ValueError("there is no state to average")
        return _all_names({name: value.cpu() for name, value in self.weights.items()}, network.state_dict())

    def to(self, device: torch.device) -> None:
        """Move the average to where the network is."""
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed training needs."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.updates, self.weights = state["updates"], dict(state["weights"])


def _first_names(state: Weights) -> dict[str, str]:
    """Return for each name the first name of the same tensor."""
    first: dict[Any, str] = {}
    return {name: first.setdefault((v.data_ptr(), v.shape, v.stride(), v.dtype), name) for name, v in state.items()}


def _all_names(values: Weights, state: Weights) -> dict[str, Tensor]:
    """Return values under all names of a state, given those of the first names."""
    return {name: values[first] for name, first in _first_names(state).items()}
