"""Prints a plan: a table on a terminal, plain lines elsewhere, then totals and assumptions."""

import shutil
import sys

from rich.console import Console
from rich.table import Table

from experiments.common.device_rates import LAYER_SECONDS, gpu_rate, time_times_rate
from experiments.planning.plan import CellCost, Plan
from experiments.reporting.formats import duration, plural, power_of_ten

BUSY = 0.8
"""Share of the threads below which a step was slowed down by other programs."""


def show(plan: Plan) -> None:
    """Print a plan: one row per variant, then the notes."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        table = Table(box=None, pad_edge=False, header_style="bold", title=f"{plan.study}: what one cell costs")
        for index, title in enumerate(titles(plan)):
            table.add_column(title, justify="right" if index else "left", overflow="fold")
        for cost in plan.variants:
            table.add_row(*values(plan, cost))
        console.print(table)
        for note in notes(plan):
            console.print(note, markup=False, soft_wrap=True)
        return
    print(f"{plan.study}: what one cell costs")
    for cost in plan.variants:
        variant, *texts = values(plan, cost)
        columns = zip(titles(plan)[1:], texts, strict=True)
        print(f"{variant}: " + ", ".join(f"{title} {text}" for title, text in columns))
    print("\n".join(notes(plan)))


def titles(plan: Plan) -> list[str]:
    """Return the columns' titles."""
    here = ["FLOPs by time x rate", "ms a step", "time here"] if plan.rate else []
    fleets = [f"on one {fleet.name}" for fleet in plan.fleets]
    return ["variant", "parameters", "steps", "FLOPs by arithmetic", *here, *fleets, "disk"]


def values(plan: Plan, cost: CellCost) -> list[str]:
    """Return the text of a variant's columns."""
    texts = [cost.variant, f"{cost.parameters:,}", f"{cost.steps:,}", power_of_ten(cost.flops)]
    if plan.rate:
        assert cost.seconds is not None
        assert cost.step_time is not None
        texts += [power_of_ten(time_times_rate(cost.seconds, plan.rate)), f"{1000 * cost.step_time.seconds:,.1f}"]
        texts.append(span(cost.seconds))
    return [*texts, *(span(seconds) for seconds in cost.fleet_seconds), size(cost.disk)]


def notes(plan: Plan) -> list[str]:
    """Return the totals and the assumptions behind every figure, a sentence or two each."""
    flops = power_of_ten(plan.total(cost.flops for cost in plan.variants))
    twice = ", twice, and trials" if plan.tune else ""
    cells = f"{plan.cells} cells ({len(plan.variants)} variants, {plan.seeds} seeds{twice})"
    done = f"; {plan.done} of them are scored already" if plan.done else ""
    lines = [f"In all: {cells}, {flops} FLOPs by arithmetic{done}.", f"Batches: {plan.origin}."]
    lines += plan.factors
    lines += [plan.tuning] if plan.tuning else []
    lines += [f"{plan.looks} Figures are for the most."] if plan.looks else []
    lines += _notes_on_this_machine(plan) if plan.rate else ["Nothing was measured here (--no-probe)."]
    lines += [_note_on_fleet(plan, index) for index in range(len(plan.fleets))]
    return [*lines, _note_on_disk(plan), plan.separable]


def _notes_on_this_machine(plan: Plan) -> list[str]:
    """Return the total time on this machine, the rate behind time x rate, and how sure the measurement is."""
    assert plan.rate
    seconds = [cost.seconds or 0.0 for cost in plan.variants]
    total = plan.total(seconds)
    hours = total * (1 if plan.on_gpu else plan.threads) / 3600
    unit = "GPU-hours" if plan.on_gpu else "core-hours"
    step_times = [cost.step_time for cost in plan.variants if cost.step_time]
    steps = sorted(step_time.steps for step_time in step_times)
    slots = f"{plural(plan.slots, 'cell')} at once, {plural(plan.threads, 'thread')} each"
    lines = [
        f"Here: {hours:,.3g} {unit} of training, {span(plan.makespan(seconds, plan.slots))} with {slots}; validation "
        "and scoring come on top.",
        f"Measured on {steps[0]} to {steps[-1]} steps of each shape of model.",
        f"Time x rate: {power_of_ten(time_times_rate(total, plan.rate))} FLOPs, at {plan.rate}.",
    ]
    cut = [step_time.tokens for step_time in step_times if step_time.cut]
    if cut:
        lines.append(f"Batches were cut for {len(cut)} variants, to {min(cut):,} tokens at least, and times scaled.")
    busy = min(step_time.busy for step_time in step_times)
    if busy < BUSY and not plan.on_gpu:
        effect = "are processor time, so you would wait longer" if plan.threads == 1 else "include that waiting"
        lines.append(f"Other programs used this machine: a step had {100 * busy:.0f} % of its threads; times {effect}.")
    return lines


def _note_on_fleet(plan: Plan, index: int) -> str:
    """Return the total on one kind of GPU, with its assumptions."""
    fleet = plan.fleets[index]
    seconds = [cost.fleet_seconds[index] for cost in plan.variants]
    total = plan.total(seconds)
    rate = gpu_rate(fleet.name)
    return (
        f"On {fleet.count} {fleet.name}: {total / 3600:,.3g} GPU-hours, {span(plan.makespan(seconds, fleet.count))} "
        f"with a cell on each; time x rate {power_of_ten(time_times_rate(total, rate))} FLOPs, at {rate}. ASSUMED: "
        f"{100 * fleet.utilisation:.0f} % of that peak, and no step under {1000 * LAYER_SECONDS:.1f} ms a layer."
    )


def _note_on_disk(plan: Plan) -> str:
    """Return the disk space that the study needs, and the free space."""
    kept = plan.trainings * sum(cost.disk for cost in plan.variants)
    temporary = plan.slots * max(cost.disk for cost in plan.variants)
    free = shutil.disk_usage(".").free
    results = (
        f"{size(plan.cells * plan.result_disk)} of results" if plan.result_disk else "results of a few 100 KB a cell"
    )
    data = f"{size(plan.data_disk)} of data" if plan.data_disk else "data not prepared yet"
    short = " TOO LITTLE." if kept + temporary > free else ""
    return (
        f"Disk: {size(kept)} of checkpoints and models, {size(temporary)} more while they are written, {results}, "
        f"{data}; {size(free)} are free.{short}"
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
