"""Averages of weights: the mean of several states of a network, and the moving average over its training.

A state is a `state_dict`. Floating-point entries are averaged, including the running statistics of batch norm, as the
released script of the paper's authors averages every variable. These are not quite the statistics of the averaged
weights; they are not corrected on data. Integers, such as the steps that batch norm counts, are those of the newest
state. Tied matrices stay one tensor.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state in host memory."""
    state = network.state_dict()
    copies = {name: state[name].to("cpu", copy=True) for name in set(_first_names(state).values())}
    return _all_names(copies, state)


def uniform_mean(states: Iterable[Weights]) -> dict[str, Tensor]:
    """Return the mean of at least one state of one network, read one after another.

    Sums are in float64, so that the mean of n equal numbers of at most 32 bits is that number, to the bit, for any n
    below 2^29. Raises `ValueError` for no states or states of different networks.
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
    """The exponential moving average of a network's weights over its steps, corrected for its start.

    After step t it is the weighted mean of the weights w_1 ... w_t, with weights proportional to decay^(t - i): e_t =
    decay e_(t-1) + (1 - decay) w_t from e_0 = 0, divided by 1 - decay^t (Kingma and Ba 2015, 7.2). The initial weights
    are not part of it. The corrected average itself is stored, updated as e += r (w - e) with r = (1 - decay) /
    (1 - decay^t), on the network's device and in the type of its weights.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the weights after an optimiser step."""
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
        """Return the average as a state of the network, in host memory, after at least one update."""
        if not self.weights:
            raise ValueError("there is no state to average")
        return _all_names({name: value.cpu() for name, value in self.weights.items()}, network.state_dict())

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict`."""
        self.updates, self.weights = state["updates"], dict(state["weights"])


def _first_names(state: Weights) -> dict[str, str]:
    """Map each name to the first name of the same tensor."""
    first: dict[Any, str] = {}
    return {name: first.setdefault((v.data_ptr(), v.shape, v.stride(), v.dtype), name) for name, v in state.items()}


def _all_names(values: Weights, state: Weights) -> dict[str, Tensor]:
    """Return the values of the first names under all names of a state."""
    return {name: values[first] for name, first in _first_names(state).items()}
