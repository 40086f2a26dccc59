"""Everything a GPU is to show, in a few minutes: CUDA tests, training, cells per hour, decoding.

    python -m benchmarks.gpu --minutes 9 --out gpu.json
    python -m benchmarks.gpu --minutes 1 --device cpu --tiny --out gpu.json    # the same command without a GPU

Each part is a command of its own, most important first. It may take its share of the time that is left; what it does
not use goes to those after it. A part that fails or is stopped loses its own results alone: the JSON has its error in
one line, and what it had written. The JSON is written after every part, and is whole when this is killed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from benchmarks.gpu_table import DECODING, FUSED, PROCESSES, TESTS, TRAINING, markdown
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.study import ROOT
from experiments.launching.signals import interrupt_on_signals
from lit_transformer.errors import UserError

PRECISION = "bfloat16"
BATCHES = {"tiny": (64, 1), "small": (25_000, 3), "base": (25_000, 3), "big": (12_500, 2)}
"""Padded tokens of a batch on either side, and batches, none of them a remainder: the paper's 25,000 tokens, half of
that for big, since all systems are in the GPU's memory at once."""
HUGGING_FACE = "Hugging Face Marian"
RESULTS = Path("benchmarks/results")
FEWEST_SECONDS = 1.0
"""A part with less time than this does not begin."""


class Part(NamedTuple):
    """A command of Python that writes a file, whose path follows `option`; `share` of the time, beside the others'."""

    name: str
    share: float
    command: list[str]
    option: str = "--out"
    read: Callable[[Path], Any] = files.read_json


def main() -> None:
    """Parse the command line, run the parts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="time for all parts together (%(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest work, to try the command out")
    parser.add_argument("--commit", help="commit of the code, for a copy that is no git repository")
    parser.add_argument(
        "--out", type=cli.user_path, help="JSON of all results (benchmarks/results/<kind of GPU>/gpu.json)"
    )
    args = parser.parse_args()
    interrupt_on_signals()
    deadline = time.monotonic() + 60 * args.minutes
    record: dict[str, Any] = {
        "settings": {"minutes": args.minutes, "device": args.device, "tiny": args.tiny},
        "precision": PRECISION,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    parts = tiny_parts(args.device) if args.tiny else all_parts(args.device)
    with tempfile.TemporaryDirectory() as folder:
        environment: dict[str, Any] = {}
        command = ["-m", "benchmarks.environment", "--device", args.device]
        soon = min(deadline, time.monotonic() + 120)
        run([Part("environment", 1.0, command)], environment, soon, Path(folder), lambda: None)
        if environment["environment"]["status"] != "done":
            raise UserError(environment["environment"]["error"])
        record |= environment["environment"]["result"] | {"code_hash": machine.code_hash(), "parts": {}}
        record["git_commit"] = args.commit or record["git_commit"]
        out = args.out or RESULTS / record["kind"] / "gpu.json"
        run(parts, record["parts"], deadline, Path(folder), lambda: files.write_json(out, record))
    print(markdown(record))
    lost = [name for name, part in record["parts"].items() if part["status"] in ("failed", "timed out")]
    if lost:
        raise UserError(f"{len(lost)} of {len(parts)} parts have failed: {', '.join(lost)}; {out} says why")


def all_parts(device: str) -> list[Part]:
    """Return the parts, most important first."""
    return [
        _tests(70),
        _training("base", 70, device, "--only", HUGGING_FACE),
        _cells(FUSED, 60, device, "--processes", "--fused", "8", "32", "100"),
        _cells(PROCESSES, 100, device),
        *(_decoding(size, 30, device, "--batch", "200", "--sentences", "1000") for size in ("base", "small")),
        _training("base", 110, device, "--compile", "--only"),
        _training("small", 40, device, "--only", HUGGING_FACE),
        _training("big", 50, device, "--only", HUGGING_FACE),
        _training("small", 60, device, "--compile", "--only"),
        _training("big", 90, device, "--compile", "--only"),
    ]


def tiny_parts(device: str) -> list[Part]:
    """Return a part of every kind, of the smallest size."""
    return [
        _tests(10),
        _training("tiny", 10, device, "--only"),
        _cells(PROCESSES, 30, device, "--processes", "1", "2", "--steps", "2"),
        _decoding("tiny", 10, device, "--batch", "2", "--sentences", "4"),
    ]


def _tests(share: float) -> Part:
    marked = [str(path) for path in sorted(ROOT.glob("tests/test_*.py")) if "mark.cuda" in path.read_text()]
    command = ["-m", "pytest", "-m", "cuda and not slow", "-p", "no:cacheprovider", *marked]
    return Part(TESTS, share, command, "--junitxml", read_tests)


def _training(size: str, share: float, device: str, *more: str) -> Part:
    name = f"{TRAINING}, {size}" + (", compiled" if "--compile" in more else "")
    tokens, batches = map(str, BATCHES[size])
    settings = ["--size", size, "--precision", PRECISION, "--tokens", tokens, "--batches", batches, "--rounds", "5"]
    return Part(name, share, ["-m", "benchmarks.training", "--device", device, *settings, *more])


def _decoding(size: str, share: float, device: str, *more: str) -> Part:
    settings = ["--size", size, "--beam", "4", "--rounds", "3"]
    name = f"{DECODING}, {size}"
    return Part(name, share, ["-m", "benchmarks.random_decoding", "--device", device, *settings, *more])


def _cells(name: str, share: float, device: str, *more: str) -> Part:
    return Part(name, share, ["-m", "benchmarks.processes", "--device", device, *more])


def run(
    parts: Sequence[Part], results: dict[str, Any], deadline: float, folder: Path, write: Callable[[], object]
) -> None:
    """Run the parts one after another until `deadline`, of time.monotonic; call `write` after each one's result.

    A result has status (done, failed, timed out, interrupted or no time), seconds, error unless it is done, and result
    if the part has written one.
    """
    for index, part in enumerate(parts):
        started = time.monotonic()
        limit = (deadline - started) * part.share / sum(other.share for other in parts[index:])
        status, error = "interrupted", "stopped by a signal"
        out = folder / f"result{index}"
        try:
            status, error = run_part(part, out, limit, folder) if limit >= FEWEST_SECONDS else ("no time", "")
        finally:
            seconds = round(time.monotonic() - started, 1)
            result = {"status": status, "seconds": seconds, "error": error, "result": _read(part, out)}
            results[part.name] = {key: value for key, value in result.items() if value not in ("", None)}
            write()
        print(f"{part.name}: {status} after {seconds:.0f} s{': ' * bool(error)}{error}", flush=True)
        out.unlink(missing_ok=True)


def run_part(part: Part, out: Path, limit: float, folder: Path) -> tuple[str, str]:
    """Run a part for at most `limit` seconds; return its status and, if it is not done, its error in one line."""
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *part.command, part.option, str(out)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},  # what a stopped part leaves there goes with the folder
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            return "timed out", f"stopped after {limit:.0f} s"
        finally:
            _kill_group(process)
    if status == 0:
        return "done", ""
    lines = log.read_text(errors="replace").strip().splitlines()
    return "failed", lines[-1].removeprefix("error: ") if lines else f"exit status {status}"


def _read(part: Part, out: Path) -> Any:
    """Return what a part has written; None if that is nothing, or not whole because the part was stopped."""
    try:
        return part.read(out)
    except (OSError, UserError, ElementTree.ParseError):
        return None


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a part with all the processes that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def read_tests(path: Path) -> dict[str, Any]:
    """Return the numbers of tests, and the first line of each failure, from pytest's XML."""
    suite = ElementTree.parse(path).getroot()[0]
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    failed = {
        f"{case.get('classname')}.{case.get('name')}": (problem.get("message") or "").strip().partition("\n")[0]
        for case in suite
        for problem in case
        if problem.tag in ("failure", "error")
    }
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return {"passed": passed, "failed": failed, "skipped": counts["skipped"]}


if __name__ == "__main__":
    cli.run(main)
