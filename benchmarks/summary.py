"""One table of all benchmark results: our speed beside each peer's, by kind of machine, and the committed ratio.

    python -m benchmarks.summary

Reads benchmarks/results/<kind of machine>/, prints the table and writes it to benchmarks/results/table.md; the tables
of GPUs go there and into docs/speed.md. Ratios are our speed over the peer's, the median over rounds; the last printed
column is the ratio to the fastest peer in the committed files, which shows a regression before it is committed.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import gpu_table, learning
from benchmarks.rounds import lead, markdown_table, show, two_decimals
from benchmarks.training import COMPILED, OURS, OURS_COMPILED, TUNED
from experiments.common import cli
from experiments.common import io as files

RESULTS = Path("benchmarks/results")
TABLE = RESULTS / "table.md"
SPEED = Path("docs/speed.md")
BEGIN, END = "<!-- GPUs: written by python -m benchmarks.summary -->\n", "<!-- end of GPUs -->\n"
"""What stands around the tables of GPUs in docs/speed.md."""
NO_GPU = """No GPU has been measured so far: `make gpu` does so in nine minutes, writes its JSON, and `python -m
benchmarks.summary` puts the tables here.
"""
PEERS = {
    "torch.nn loop": "torch.nn",
    "Hugging Face Marian": "Hugging Face",
    "Hugging Face generate": "Hugging Face",
    "x-transformers": "x-transformers",
    "JoeyNMT": "JoeyNMT",
    "CTranslate2 float32": "CTranslate2",
}
"""The column of each peer; `COMPILED` and `TUNED` are variants of the plain loop."""
NOTE = """Written by `python -m benchmarks.summary` from the JSON files here, one folder per kind of machine. Our speed
over each peer's: the median over rounds of one run, in which the systems take turns on one thread; the speeds
themselves do not compare between machines. "of peak": FLOPs that the model needs, without padding, over those of a
large matmul. "load": the machine's load average, the benchmark included."""
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
    paths = sorted(RESULTS.glob("*/*.json"))
    lines = {path: line for path in paths if (line := read(path.read_text()))}
    lines = dict(sorted(lines.items(), key=lambda item: (item[1].name, item[0])))
    ratios = ["of peak", *(f"x {name}" for name in COLUMNS), "x fastest", "load"]
    show(
        ["", "on", "ours", *ratios, "x fastest, committed"],
        [
            [line.name, path.parent.name, line.rate, *_ratios(line), two_decimals(committed(path))]
            for path, line in lines.items()
        ],
    )
    text = "# Our speed over each peer's, by kind of machine\n\n" + "".join(
        f"* {kind}: {_described([line for path, line in lines.items() if path.parent.name == kind])}\n"
        for kind in sorted({path.parent.name for path in lines})
    )
    rows = [[line.name, path.parent.name, *_ratios(line)] for path, line in lines.items()]
    text += f"\n{markdown_table(['', 'on', *ratios], rows)}\n{NOTE}\n"
    records = [json.loads(path.read_text()) for path in paths]
    for record in records:
        if record.get("trainings"):
            learning.print_table(record)
            text += _learning(record)
    gpus = gpu_section(records)
    files.write_text(TABLE, text + (f"\n## GPUs\n\n{gpus}" if gpus else ""))
    files.write_text(SPEED, replaced(SPEED.read_text(encoding="utf-8"), gpus or NO_GPU))


def gpu_section(records: Sequence[dict[str, Any]]) -> str:
    """Return the tables of all records of `benchmarks.gpu`; nothing where there is none."""
    return "\n".join(f"{gpu_table.markdown(record)}\n" for record in records if "parts" in record)


def replaced(page: str, section: str) -> str:
    """Return the page with another section of GPUs."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + section + END + rest.partition(END)[2]


def read(text: str) -> Line | None:
    """Return the line of a benchmark; None for a file without systems, or without a peer of ours."""
    content = json.loads(text)
    systems = content.get("systems")
    if not systems or OURS not in systems:
        return None
    ours = systems[OURS]
    peers = [name for name in systems if name not in (OURS, OURS_COMPILED, COMPILED, TUNED)]
    ratios = {PEERS[name]: lead(systems, name, OURS) for name in peers}
    if not ratios:
        return None
    key = next(key for key in ours if key.endswith("_per_second"))
    unit = key.removesuffix("_per_second").replace("_", " ").removeprefix("target ")
    rate = f"{ours[key]['median']:,.{0 if ours[key]['median'] >= 100 else 1}f} {unit}/s"
    load = max(content["load_before_and_after"])
    share, machine, commit = ours.get("share_of_matrix_peak"), content["machine"], content["git_commit"]
    return Line(title(content["settings"]), rate, share, ratios, machine, commit, load)


def title(settings: dict[str, Any]) -> str:
    """Return a description of what was timed."""
    device = "" if settings.get("device", "cpu") == "cpu" else f", {settings['device']}"
    if "beam" in settings:
        model = settings.get("size") or f"{settings['study']}/{settings['variant']}, trained"
        return f"decoding, {model}, " + (f"beam {settings['beam']}" if settings["beam"] > 1 else "greedy") + device
    kind = ", random batches" if settings["mixed"] else ""
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
    return f"\n{heading}\n\n{markdown_table(['', *header], rows)}\n{learning.verdict(table)}.\n"


def _described(lines: Sequence[Line]) -> str:
    machines = " and ".join(sorted({line.machine for line in lines}))
    return f"{machines}, commit {', '.join(sorted({line.commit for line in lines}))}"


def _ratios(line: Line) -> list[str]:
    peak = "–" if line.peak is None else f"{line.peak:.0%}"
    return [
        peak,
        *(two_decimals(line.ratios.get(name)) for name in COLUMNS),
        two_decimals(line.lowest_ratio),
        f"{line.load:.1f}",
    ]


if __name__ == "__main__":
    cli.run(main)
