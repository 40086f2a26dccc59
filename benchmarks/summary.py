"""One table of what the benchmarks wrote: ours beside each peer, training and decoding, and what was committed last.

    python -m benchmarks.summary

Reads benchmarks/results/, prints the table and writes it there as table.md. A ratio is ours over the peer's in speed,
the median over rounds; the last column is the ratio to the fastest peer of the files as git has them, so that a fall is
seen before it is committed.
"""

import json
import statistics
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

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
"""The column of each system that is another's work; `COMPILED` and `TUNED` are the plain loop once more."""
NOTE = """Written by `python -m benchmarks.summary` from the files beside it. Ours over each in speed: the median over
rounds of one run, in which the systems take turns on one thread. "of the peak": operations of the model's arithmetic,
for real tokens, over what a large matrix product reaches. "load": how many processes wanted a core, this one among
them."""
COLUMNS = tuple(dict.fromkeys(PEERS.values()))


class Line(NamedTuple):
    """One benchmark: our rate, our share of the matrix peak, and our speed over that of each peer, by column."""

    name: str
    rate: str
    peak: float | None
    ratios: dict[str, float]
    machine: str
    commit: str
    load: float

    @property
    def least(self) -> float:
        """Our speed over the fastest peer's."""
        return min(self.ratios.values())


def main() -> None:
    """Print the table and write it."""
    found = {path: line for path in sorted(RESULTS.glob("*.json")) if (line := read(path.read_text()))}
    header = ["", "ours", "of the peak", *(f"x {name}" for name in COLUMNS), "x fastest", "load"]
    rows = [_row(line) for line in found.values()]
    show(
        [*header, "x fastest, committed"],
        [[*row, _ratio(committed(path))] for path, row in zip(found, rows, strict=True)],
    )
    machines = " and ".join(sorted({line.machine for line in found.values()}))
    commits = ", ".join(sorted({line.commit for line in found.values()}))
    rule = [":--", *["--:"] * (len(header) - 1)]
    text = "".join("| " + " | ".join(row) + " |\n" for row in (header, rule, *rows))
    files.write_text(TABLE, f"# Ours beside each, on {machines}, commit {commits}\n\n{text}\n{NOTE}\n")


def read(text: str) -> Line | None:
    """Return a benchmark's line; None for a file of another kind."""
    content = json.loads(text)
    systems = content.get("systems")
    if not systems or OURS not in systems:
        return None
    ours = systems[OURS]
    ratios = {
        PEERS[name]: statistics.median(
            other / own for other, own in zip(system["seconds"], ours["seconds"], strict=True)
        )
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
    """Say in words what was timed."""
    if "beam" in settings:
        model = settings.get("size") or f"{settings['study']}/{settings['variant']}, trained"
        return f"decoding, {model}, " + (f"beam {settings['beam']}" if settings["beam"] > 1 else "greedy")
    kind = ", any lengths" if settings["mixed"] else ""
    device = "" if settings["device"] == "cpu" else f", {settings['device']}"
    return f"training, {settings['size']}, {settings['precision']}{kind}{device}"


def committed(path: Path) -> float | None:
    """Return our speed over the fastest peer's in the file as git has it; None where it has none."""
    done = subprocess.run(["git", "show", f"HEAD:./{path}"], capture_output=True, text=True)
    line = read(done.stdout) if done.returncode == 0 else None
    return line.least if line else None


def _row(line: Line) -> list[str]:
    peak = "–" if line.peak is None else f"{line.peak:.0%}"
    ratios = [_ratio(line.ratios.get(name)) for name in COLUMNS]
    return [line.name, line.rate, peak, *ratios, _ratio(line.least), f"{line.load:.1f}"]


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    cli.run(main)
