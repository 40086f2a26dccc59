"""The maximum path length, followed by gradients: after how many layers, or steps, every token has met every other.

A token has met another where the gradient of its output with respect to the other's input is not zero. Weights are
positive and numbers float64, so that nothing cancels, no unit is silent and nothing vanishes.
"""

from bisect import bisect_left
from functools import partial

import torch
from torch import Tensor, nn

from experiments.layer_costs.layers import LayerKind, build
from lit_transformer.batch import Layout
from lit_transformer.components.token_mixer import TokenMixer

WIDTH, HEADS = 8, 2


def path_length(kind: LayerKind, n: int, kernel: int, window: int) -> int:
    """Return the longest path between any two of n tokens: of layers, or where a layer reads one way, of its steps."""
    if kind.one_way:
        return _steps(build(kind, WIDTH, HEADS, kernel, window)[0], n)
    return _layers(kind, n, kernel, window)


def _layers(kind: LayerKind, n: int, kernel: int, window: int) -> int:
    """Return the smallest stack in which all pairs meet; from one layer on, a stack meets more than a lower one."""
    parts = [_positive(part) for part in build(kind, WIDTH, HEADS, kernel, window, layers=n)]
    enough = 1
    while not all_meet(parts[:enough], n):
        enough *= 2
    return bisect_left(range(enough + 1), True, lo=enough // 2 + 1, key=lambda height: all_meet(parts[:height], n))


def all_meet(parts: list[TokenMixer], n: int) -> bool:
    """Say whether the outputs of a stack depend on all its inputs, each on each."""
    x = torch.rand(n, WIDTH, dtype=torch.float64, requires_grad=True)
    y, layout = x, Layout.uniform(1, n)
    for part in parts:
        y, _ = part(y, layout)
        y = y / y.detach().amax(
            dim=1, keepdim=True
        )  # a token's own scale, so that no stack is too deep for its numbers
    ends = [0, n - 1]  # the outputs at both ends are those furthest from some input
    for end in ends if n > 64 else range(n):
        (gradient,) = torch.autograd.grad(y[end].sum(), x, retain_graph=True)
        if not (gradient.abs().amax(1) > 0).all():
            return False
    return True


def _steps(part: TokenMixer, n: int) -> int:
    """Return the steps from the first token to the last output, one token at a time, each a hop that a gradient takes.

    What is remembered is cut from the graph after each step, so a gradient is one step's own; the hops are then counted
    from the last output back.
    """
    part, past, passes_on = _positive(part), None, []
    for _ in range(n):
        token = torch.rand(1, WIDTH, dtype=torch.float64)
        given = None if past is None else tuple(state.detach().requires_grad_() for state in past.tensors)
        before = None if given is None else type(past)(given)
        y, past = part(token, Layout.uniform(1, 1), before)
        passes_on.append(given is not None and _depends(y, given[0]))
    steps, place = 1, n - 1  # the first token's own step
    while place > 0 and passes_on[place]:
        steps, place = steps + 1, place - 1
    assert place == 0, "a recurrent layer passes on what it read"
    return steps


def _depends(y: Tensor, given: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(y.sum(), given, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())


def _positive(part: TokenMixer) -> TokenMixer:
    draw = partial(nn.init.uniform_, a=0.1, b=0.5)
    for parameter in part.double().parameters():
        draw(parameter)
    return part
