"""One table of all benchmark results: our speed beside each peer's, and the committed ratio.

    python -m benchmarks.summary

Reads benchmarks/results/, prints the table and writes it there as table.md. Ratios are our speed over the peer's, the
median over rounds; the last printed column is the ratio to the fastest peer in the committed files, which shows a
regression before it is committed.
"""

import json
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import learning
from benchmarks.rounds import show
from benchmarks.training import COMPILED, OURS, OURS_COMPILED, TUNED
from experiments.common import cli
from experiments.common import io as files

RESULTS = Path("benchmarks/results")
TABLE = RESULTS / "table.md"
PEERS = {
    "torch.nn loop": "torch.nn",
    "Hugging Face Marian": "Hugging Face",
    "Hugging Face generate": "Hugging Face",
    "x-transformers": "x-transformers",
    "JoeyNMT": "JoeyNMT",
    "CTranslate2 float32": "CTranslate2",
}
"""The column of each peer; `COMPILED` and `TUNED` are variants of the plain loop."""
NOTE = """Written by `python -m benchmarks.summary` from the JSON files here. Our speed over each peer's: the median
over rounds of one run, in which the systems take turns on one thread. "of peak": FLOPs that the model needs, without
padding, over those of a large matmul. "load": the machine's load average, the benchmark included."""
COLUMNS = tuple(dict.fromkeys(PEERS.values()))


class Line(NamedTuple):
    """One benchmark: our rate, our share of the matmul peak, and our speed over each peer's, by column."""

    name: str
    rate: str
    peak: float | None
    ratios: dict[str, float]
    machine: str
    commit: str
    load: float

    @property
    def lowest_ratio(self) -> float:
        """Our speed over the fastest peer's."""
        return min(self.ratios.values())


def main() -> None:
    """Print the table and write it."""
    lines = {path: line for path in sorted(RESULTS.glob("*.json")) if (line := read(path.read_text()))}
    header = ["", "ours", "of peak", *(f"x {name}" for name in COLUMNS), "x fastest", "load"]
    rows = [_row(line) for line in lines.values()]
    show(
        [*header, "x fastest, committed"],
        [[*row, _ratio(committed(path))] for path, row in zip(lines, rows, strict=True)],
    )
    machines = " and ".join(sorted({line.machine for line in lines.values()}))
    commits = ", ".join(sorted({line.commit for line in lines.values()}))
    text = f"# Our speed over each peer's, on {machines}, commit {commits}\n\n{_markdown(header, rows)}\n{NOTE}\n"
    for record in (json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))):
        if record.get("trainings"):
            learning.print_table(record)
            text += _learning(record)
    files.write_text(TABLE, text)


def read(text: str) -> Line | None:
    """Return the line of a benchmark; None for a file without systems."""
    content = json.loads(text)
    systems = content.get("systems")
    if not systems or OURS not in systems:
        return None
    ours = systems[OURS]
    ratios = {
        PEERS[name]: statistics.median(peer / our for peer, our in zip(system["seconds"], ours["seconds"], strict=True))
        for name, system in systems.items()
        if name not in (OURS, OURS_COMPILED, COMPILED, TUNED)
    }
    key = next(key for key in ours if key.endswith("_per_second"))
    unit = key.removesuffix("_per_second").replace("_", " ").removeprefix("target ")
    rate = f"{ours[key]['median']:,.{0 if ours[key]['median'] >= 100 else 1}f} {unit}/s"
    load = max(content["load_before_and_after"])
    share, machine, commit = ours.get("share_of_matrix_peak"), content["machine"], content["git_commit"]
    return Line(title(content["settings"]), rate, share, ratios, machine, commit, load)


def title(settings: dict[str, Any]) -> str:
    """Return a description of what was timed."""
    if "beam" in settings:
        model = settings.get("size") or f"{settings['study']}/{settings['variant']}, trained"
        return f"decoding, {model}, " + (f"beam {settings['beam']}" if settings["beam"] > 1 else "greedy")
    kind = ", random batches" if settings["mixed"] else ""
    device = "" if settings["device"] == "cpu" else f", {settings['device']}"
    return f"training, {settings['size']}, {settings['precision']}{kind}{device}"


def committed(path: Path) -> float | None:
    """Return our speed over the fastest peer's in the committed file; None if there is none."""
    done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, text=True)
    line = read(done.stdout) if done.returncode == 0 else None
    return line.lowest_ratio if line else None


def _learning(record: dict[str, Any]) -> str:
    """Return the table of a comparison of learning per step as Markdown, with a heading."""
    table = learning.read(record["trainings"])
    header, rows = learning.cells(table)
    commits = ", ".join(sorted({training["git_commit"] for training in record["trainings"]}))
    heading = f"## {learning.title(record['settings']).capitalize()}, on {record['machine']}, commit {commits}"
    return f"\n{heading}\n\n{_markdown(['', *header], rows)}\n{learning.verdict(table)}.\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(row) + " |\n" for row in (header, rule, *rows))


def _row(line: Line) -> list[str]:
    peak = "–" if line.peak is None else f"{line.peak:.0%}"
    ratios = [_ratio(line.ratios.get(name)) for name in COLUMNS]
    return [line.name, line.rate, peak, *ratios, _ratio(line.lowest_ratio), f"{line.load:.1f}"]


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    cli.run(main)
