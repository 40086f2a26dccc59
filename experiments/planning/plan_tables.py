"""A plan as a reader sees it: a table on a terminal, plain lines elsewhere, and what it rests on below."""

import shutil
import sys

from rich.console import Console
from rich.table import Table

from experiments.common.device_rates import LAYER_SECONDS, gpu_rate, time_times_rate
from experiments.planning.planned import Line, Plan
from experiments.reporting.formats import plural, power_of_ten
from experiments.reporting.provenance import duration

BUSY = 0.8


def show(plan: Plan) -> None:
    """Print a plan: rows, totals, notes."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold", title=f"{plan.study}: what one cell costs")
        for place, title in enumerate(titles(plan)):
            table.add_column(title, justify="right" if place else "left", overflow="fold")
        for line in plan.lines:
            table.add_row(*cells(plan, line))
        console.print(table)
        for note in notes(plan):
            console.print(note, markup=False, soft_wrap=True)
        return
    print(f"{plan.study}: what one cell costs")
    shown = titles(plan)[1:]
    for line in plan.lines:
        name, *values = cells(plan, line)
        print(f"{name}: " + ", ".join(f"{title} {value}" for title, value in zip(shown, values, strict=True)))
    print("\n".join(notes(plan)))


def titles(plan: Plan) -> list[str]:
    """Return the columns' titles."""
    here = ["FLOPs by time x rate", "ms a step", "time here"] if plan.rate else []
    return [
        "variant",
        "parameters",
        "steps",
        "FLOPs by arithmetic",
        *here,
        *(f"on one {f.name}" for f in plan.fleets),
        "disk",
    ]


def cells(plan: Plan, line: Line) -> list[str]:
    """Return the text of a line's columns."""
    found = [line.variant, f"{line.parameters:,}", f"{line.steps:,}", power_of_ten(line.flops)]
    if plan.rate:
        seconds = line.seconds
        assert seconds is not None
        assert line.measured is not None
        found += [
            power_of_ten(time_times_rate(seconds, plan.rate)),
            f"{1000 * line.measured.seconds:,.1f}",
            span(seconds),
        ]
    return [*found, *(span(seconds) for seconds in line.fleet_seconds), size(line.disk)]


def notes(plan: Plan) -> list[str]:
    """Return the totals and what every figure rests on, a sentence or two each."""
    flops = power_of_ten(plan.total(line.flops for line in plan.lines))
    cells = f"{plan.cells} cells ({len(plan.lines)} variants, {plan.seeds} seeds)"
    have = f"; {plan.done} of them are scored already" if plan.done else ""
    found = [f"In all: {cells}, {flops} FLOPs by arithmetic{have}."]
    found.append(f"Batches: {plan.origin}.")
    found += here(plan) if plan.rate else ["Nothing was measured here (--no-probe)."]
    found += [on_fleet(plan, place) for place in range(len(plan.fleets))]
    found += [disk(plan), plan.separable]
    return found


def here(plan: Plan) -> list[str]:
    """Return the total time on this machine, the rate behind time x rate, and how sure the probe was."""
    assert plan.rate
    seconds = [line.seconds or 0.0 for line in plan.lines]
    total = plan.total(seconds)
    hours = total * (1 if plan.on_gpu else plan.threads) / 3600
    unit = "GPU-hours" if plan.on_gpu else "core-hours"
    probes = [line.measured for line in plan.lines if line.measured]
    at_once = f"{plural(plan.slots, 'cell')} at once, {plural(plan.threads, 'thread')} each"
    steps = sorted(one.steps for one in probes)
    found = [
        f"Here: {hours:,.3g} {unit} of training, {span(plan.span(seconds, plan.slots))} with {at_once}; validation and "
        "scoring come on top.",
        f"Measured on {steps[0]} to {steps[-1]} steps of each shape of model.",
        f"Time x rate: {power_of_ten(time_times_rate(total, plan.rate))} FLOPs, at {plan.rate}.",
    ]
    cut = [one.tokens for one in probes if one.cut]
    if cut:
        found.append(f"Batches were cut for {len(cut)} variants, to {min(cut):,} tokens at least, and times scaled.")
    busy = min(one.busy for one in probes)
    if busy < BUSY and not plan.on_gpu:
        waited = "are the processor's own, so you would wait longer" if plan.threads == 1 else "hold that waiting"
        found.append(f"Others used this machine: a step had {100 * busy:.0f} % of its threads; the times {waited}.")
    return found


def on_fleet(plan: Plan, place: int) -> str:
    """Return the total on one kind of GPU, with the assumptions it rests on."""
    fleet = plan.fleets[place]
    seconds = [line.fleet_seconds[place] for line in plan.lines]
    total = plan.total(seconds)
    rate = gpu_rate(fleet.name)
    return (
        f"On {fleet.count} {fleet.name}: {total / 3600:,.3g} GPU-hours, {span(plan.span(seconds, fleet.count))} with a "
        f"cell on each; time x rate {power_of_ten(time_times_rate(total, rate))} FLOPs, at {rate}. ASSUMED: "
        f"{100 * fleet.utilisation:.0f} % of that peak, and no step under {1000 * LAYER_SECONDS:.1f} ms a layer."
    )


def disk(plan: Plan) -> str:
    """Return what the study keeps on disk, and what is free."""
    checkpoints = round(plan.total(line.disk for line in plan.lines))
    beside = plan.slots * max(line.disk for line in plan.lines)
    free = shutil.disk_usage(".").free
    results = (
        f"{size(plan.cells * plan.result_disk)} of results" if plan.result_disk else "results of a few 100 KB a cell"
    )
    data = f"{size(plan.data_disk)} of data" if plan.data_disk else "data not prepared yet"
    short = " TOO LITTLE." if checkpoints + beside > free else ""
    return (
        f"Disk: {size(checkpoints)} of checkpoints, {size(beside)} more while they are written, {results}, {data}; "
        f"{size(free)} are free.{short}"
    )


def span(seconds: float) -> str:
    """Return a time span: "12 min 03 s", "1,204 h"."""
    return duration(seconds) if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"


def size(count: float) -> str:
    """Return bytes with three significant digits."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
