"""Measures every kind of layer: time, memory, operations, the longest chain of operations, and path lengths.

Times and memory are of passes forward and backward, timed in turns so that all layers run under the same machine load.
Operations and chains follow from shapes alone, on the meta device, so any length is cheap. Path lengths are found by
gradients: a token has reached another where the gradient of its output with respect to the other's input is not zero.
There weights are positive and numbers float64, so that nothing cancels, saturates or vanishes.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from experiments.common import machine
from experiments.layer_costs.layers import LAYERS, LayerKind
from experiments.layer_costs.settings import Settings
from lit_transformer.batch import Layout
from lit_transformer.components.attention import MultiHeadAttention
from lit_transformer.components.cost import linear_cost
from lit_transformer.components.kernels import FusedKernel
from lit_transformer.components.mixers import build_mixers
from lit_transformer.components.token_mixer import TokenMixer
from lit_transformer.config import AttentionConfig, MixerConfig, ModelConfig, PositionConfig, Positions

MIN_SECONDS = 0.02
"""Least duration of one measurement; shorter passes are repeated and averaged."""
SHORT = 32
"""Length of a short sentence from which the counts of a recurrent layer are extrapolated."""
PATH_WIDTH, PATH_HEADS = 8, 2


def measure(settings: Settings, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Return everything that the report needs, ready for JSON; `log` gets a line for each size."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    machine.keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = machine.load()
    rows = []
    for n, d in settings.sizes:
        log(f"n = {n}, d = {d}")
        passes = {kind.key: _training_pass(kind, n, d, settings, device) for kind in LAYERS}
        memory = {key: peak_bytes(run, device) for key, run in passes.items()}  # the first pass, which also warms up
        seconds = time_in_turns(passes, settings.repeats, device)
        rows += [
            {
                "layer": kind.key,
                "n": n,
                "d": d,
                **count(kind, n, d, settings),
                "peak_bytes": memory[kind.key],
                "seconds": seconds[kind.key],
            }
            for kind in LAYERS
        ]
    log("paths")
    return {
        "rows": rows,
        "paths": list(_paths(settings)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "load_before": load,
        "load_after": machine.load(),
        **machine.describe(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _paths(settings: Settings) -> Iterator[dict[str, Any]]:
    for kind in LAYERS:
        for n in settings.path_lengths if not kind.path_of else []:
            yield {"layer": kind.key, "n": n, "path": path_length(kind, n, settings.kernel, settings.path_window)}


def _training_pass(kind: LayerKind, n: int, d: int, settings: Settings, device: torch.device) -> Callable[[], None]:
    """Return a pass forward and backward over one sentence, which keeps no gradients."""
    with device:
        (part,) = build(kind, d, settings.heads, settings.kernel, settings.window)
        x, upstream = torch.randn(n, d, requires_grad=True), torch.randn(n, d)
    layout, inputs = Layout.uniform(1, n, device), [x, *part.parameters()]

    def run() -> None:
        y, _ = part(x, layout)
        torch.autograd.grad(y, inputs, upstream)

    return run


def time_in_turns(passes: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time each pass `repeats` times, in rounds; return seconds per pass by key."""
    seconds: dict[str, list[float]] = {key: [] for key in passes}
    counts = {key: max(1, math.ceil(MIN_SECONDS / _seconds(run, 1, device))) for key, run in passes.items()}
    for _ in range(repeats):
        for key, run in passes.items():
            seconds[key].append(round(_seconds(run, counts[key], device), 9))
    return seconds


def _seconds(run: Callable[[], None], count: int, device: torch.device) -> float:
    """Return seconds per pass; on a CPU processor time, which hardly depends on the machine's load."""
    if device.type == "cpu":
        clock, synchronise = time.process_time, lambda: None
    else:
        clock, synchronise = time.perf_counter, torch.cuda.synchronize
    synchronise()
    start = clock()
    for _ in range(count):
        run()
    synchronise()
    return (clock() - start) / count


def peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Return the peak bytes of tensors during a pass, beyond those allocated before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        run()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak


def build(kind: LayerKind, width: int, heads: int, kernel: int, window: int, layers: int = 1) -> list[TokenMixer]:
    """Build the mixers of a stack of `layers`, bottom first, with random weights."""
    mixer = MixerConfig(kind.mixer, window=window, kernel=kernel, dilations=max(layers, 1))
    config = ModelConfig(
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        attention=AttentionConfig(heads=heads, d_k=width // heads, d_v=width // heads, **kind.attention),
        encoder_mixer=mixer,
        decoder_mixer=MixerConfig(kind.mixer, window=window) if kind.causal else MixerConfig(),
        positions=PositionConfig(Positions.none),
    )
    parts = build_mixers(config, causal=kind.causal)
    for part in parts:
        if kind.fused and isinstance(part, MultiHeadAttention) and isinstance(part.kernel, FusedKernel):
            part.kernel.fuse_on_cpu = True
    return parts


def left_out_operations(kind: LayerKind, part: TokenMixer) -> int:
    """Return the operations per token, forward and backward, of the linear layers that the paper leaves out."""
    return 3 * sum(linear_cost(part.get_submodule(name)) for name in kind.left_out)


def count(kind: LayerKind, n: int, d: int, settings: Settings) -> dict[str, int]:
    """Return the operations of a pass forward and backward, those of the mixing, and the longest chain forward.

    The steps of a recurrent layer are alike and torch counts each one, so its counts are extrapolated from two short
    sentences.
    """
    if not kind.causal or n <= 2 * SHORT:
        return count_exactly(kind, n, d, settings)
    short, double = (count_exactly(kind, length, d, settings) for length in (SHORT, 2 * SHORT))
    return {name: short[name] + (double[name] - short[name]) * (n - SHORT) // SHORT for name in short}


def count_exactly(kind: LayerKind, n: int, d: int, settings: Settings) -> dict[str, int]:
    """Count every operation of the pass."""
    unfused = torch.backends.mkldnn.flags(enabled=False, allow_tf32=None)  # whose fused LSTM torch does not count
    with torch.device("meta"):
        (part,) = build(kind, d, settings.heads, settings.kernel, settings.window)
        x = torch.empty(n, d, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH), unfused, FlopCounterMode(display=False) as counter:
        y, _ = part(x, Layout.uniform(1, n, torch.device("meta")))
        chain = longest_chain(y)
        y.sum().backward()
    total = counter.get_total_flops()
    return {"operations": total, "mixing_operations": total - n * left_out_operations(kind, part), "chain": chain}


def longest_chain(y: Tensor) -> int:
    """Return the length of the longest chain of dependent operations between an input and y.

    Operations are the nodes of the autograd graph; a node is one kernel, however large.
    """
    depth: dict[Any, int] = {}
    stack: list[tuple[Any, bool]] = [(y.grad_fn, False)]
    while stack:
        node, ready = stack.pop()
        if node in depth:
            continue
        before = [parent for parent, _ in node.next_functions if parent is not None]
        if ready:
            depth[node] = 1 + max((depth[parent] for parent in before), default=0)
        else:
            stack.append((node, True))
            stack.extend((parent, False) for parent in before)
    return depth[y.grad_fn] - 1  # the leaf is not an operation


def path_length(kind: LayerKind, n: int, kernel: int, window: int) -> int:
    """Return the longest path between any two of n tokens, in layers or, for a recurrent layer, in its steps."""
    if kind.causal:
        return _recurrent_steps(build(kind, PATH_WIDTH, PATH_HEADS, kernel, window)[0], n)
    return _layers_needed(kind, n, kernel, window)


def _layers_needed(kind: LayerKind, n: int, kernel: int, window: int) -> int:
    """Return the number of layers after which every output depends on every input; it grows with the stack."""
    parts = [_positive(part) for part in build(kind, PATH_WIDTH, PATH_HEADS, kernel, window, layers=n)]
    upper = 1
    while not all_connected(parts[:upper], n):
        upper *= 2
    return bisect_left(range(upper + 1), True, lo=upper // 2 + 1, key=lambda layers: all_connected(parts[:layers], n))


def all_connected(parts: list[TokenMixer], n: int) -> bool:
    """Return whether every output of a stack depends on every input."""
    x = torch.rand(n, PATH_WIDTH, dtype=torch.float64, requires_grad=True)
    y, layout = x, Layout.uniform(1, n)
    for part in parts:
        y, _ = part(y, layout)
        y = y / y.detach().amax(dim=1, keepdim=True)  # normalise each token, so that deep stacks do not overflow
    ends = [0, n - 1]  # the outputs at both ends are the furthest from some input
    for place in ends if n > 64 else range(n):
        (gradient,) = torch.autograd.grad(y[place].sum(), x, retain_graph=True)
        if not (gradient.abs().amax(1) > 0).all():
            return False
    return True


def _recurrent_steps(part: TokenMixer, n: int) -> int:
    """Return the number of steps from the first token to the last output that a gradient passes.

    The state is detached after each step, so each gradient covers one step; they are counted from the last output back.
    """
    part, past, depends = _positive(part), None, []
    for _ in range(n):
        token = torch.rand(1, PATH_WIDTH, dtype=torch.float64)
        state = None if past is None else tuple(tensor.detach().requires_grad_() for tensor in past.tensors)
        before = None if state is None else type(past)(state)
        y, past = part(token, Layout.uniform(1, 1), before)
        depends.append(state is not None and _depends(y, state[0]))
    steps, place = 1, n - 1  # the first token's own step
    while place > 0 and depends[place]:
        steps, place = steps + 1, place - 1
    assert place == 0, "a recurrent layer passes on its input"
    return steps


def _depends(y: Tensor, state: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(y.sum(), state, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())


def _positive(part: TokenMixer) -> TokenMixer:
    draw = partial(nn.init.uniform_, a=0.1, b=0.5)
    for parameter in part.double().parameters():
        draw(parameter)
    return part
