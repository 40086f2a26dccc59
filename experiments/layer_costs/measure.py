"""Times passes forward and backward and counts their memory; layers take turns, so that all meet the same machine."""

import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.common import machine
from experiments.layer_costs.chains import count
from experiments.layer_costs.layers import LAYERS, LayerKind, build
from experiments.layer_costs.reach import path_length
from experiments.layer_costs.settings import Settings
from lit_transformer.batch import Layout

LEAST = 0.02
"""Seconds that one measurement takes at least: shorter passes are repeated and shared out."""


def measure(settings: Settings, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Return everything that the report needs, ready for JSON. `say` is told how far it is."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    machine.keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    load = machine.load()
    rows = []
    for n, d in settings.sizes:
        say(f"n = {n}, d = {d}")
        kinds = [(kind, _pass(kind, n, d, settings, device)) for kind in LAYERS]
        memory = {kind.key: peak_bytes(run, device) for kind, run in kinds}  # the first pass, which warms up too
        seconds = take_turns({kind.key: run for kind, run in kinds}, settings.repeats, device)
        rows += [
            {
                "layer": kind.key,
                "n": n,
                "d": d,
                **count(kind, n, d, settings),
                "peak_bytes": memory[kind.key],
                "seconds": seconds[kind.key],
            }
            for kind, _ in kinds
        ]
    say("paths")
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


def _pass(kind: LayerKind, n: int, d: int, settings: Settings, device: torch.device) -> Callable[[], None]:
    """Return a pass forward and backward over one sentence; its gradients are dropped at once."""
    with device:
        (part,) = build(kind, d, settings.heads, settings.kernel, settings.window)
        x, upstream = torch.randn(n, d, requires_grad=True), torch.randn(n, d)
    layout, wanted = Layout.uniform(1, n, device), [x, *part.parameters()]

    def run() -> None:
        y, _ = part(x, layout)
        torch.autograd.grad(y, wanted, upstream)

    return run


def take_turns(runs: dict[str, Callable[[], None]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time each of `runs` so many times, in rounds: seconds a pass, by its key."""
    seconds: dict[str, list[float]] = {key: [] for key in runs}
    passes = {key: max(1, math.ceil(LEAST / _seconds(run, 1, device))) for key, run in runs.items()}
    for _ in range(repeats):
        for key, run in runs.items():
            seconds[key].append(round(_seconds(run, passes[key], device), 9))
    return seconds


def _seconds(run: Callable[[], None], passes: int, device: torch.device) -> float:
    """Return seconds a pass: on a CPU those of the processor, the same on a quiet machine and near it on a busy one."""
    if device.type == "cpu":
        clock, settle = time.process_time, lambda: None
    else:
        clock, settle = time.perf_counter, torch.cuda.synchronize
    settle()
    start = clock()
    for _ in range(passes):
        run()
    settle()
    return (clock() - start) / passes


def peak_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Return the most bytes of tensors that a pass holds at once, beyond those that were there before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as told:
        run()
    assert told.profiler is not None
    assert told.profiler.kineto_results is not None
    events = [event for event in told.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most
