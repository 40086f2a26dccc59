"""Trainings that are killed at chosen moments, and what they leave: a study, a driver of processes, and a comparison.

As a script it starts the training of its arguments once for each moment, and prints each exit status. A moment is
[function, entry, calls]: the signal KILLED_BY comes to rank KILLED_RANK that many calls, of Python or of C, after it
entered that function for that time; null lets it live.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

ROOT = Path(__file__).parent.parent
STUDY = """
name: killed
corpus: made_up
seeds: [3]
base:
  model: {feed_forward: {d_ff: 24}}
  data: {vocab_size: 280, batch_tokens: 120}
  optim: {steps: 24, schedule: linear, peak: 0.003, warmup: 4, clip_norm: 1.0}
variants:
  everything:
    trainer: {precision: bfloat16}
    tracking: {loggers: [csv, tensorboard]}
    optim: {accumulate: 2, averaging: {kind: last, last: 2, every: 3}}
  moving: {optim: {averaging: {kind: ema, decay: 0.9}}}
  batch_norm: {model: {norm: {kind: batch}}}
"""
Moment = tuple[str, int, int]
RECORD_TIMES = (
    "seconds",
    "target_tokens_per_second",
    "peak_memory_bytes",
    "load",
    "matrix_flops_per_second",
    "finished_at",
)
"""Keys of a record that depend on the moment, as times do."""
HISTORY_TIMES = ("cost/target_tokens_per_second", "cost/share_of_peak", "cost/memory_gb")
"""Columns of a run's history that do."""


def write_project(root: Path) -> None:
    """Write the study and its corpus of made-up sentences of many lengths."""
    from data_modules.corpora.text import ParallelText, RawCorpus
    from data_modules.prepared import prepare
    from experiments.config.study import load_study
    from tests.tiny_study import study_yaml

    folder = root / "experiments/studies/killed"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(study_yaml(STUDY))
    (root / "pyproject.toml").touch()  # commands run in a checkout only
    dice = random.Random(5)

    def text(pairs: int) -> ParallelText:
        lines = [" ".join(dice.choices(["dog", "cat", "a", "the", "old"], k=dice.randint(1, 9))) for _ in range(pairs)]
        return ParallelText(lines, [line.upper() for line in lines])

    before = Path.cwd()
    os.chdir(root)
    try:
        study = load_study("killed")
        splits = {"train": text(90), "valid": text(16), "test": text(4)}
        prepare(RawCorpus("made_up", "en", "de", splits), study.data_config, study.data_folder)
    finally:
        os.chdir(before)


def trained(
    root: Path,
    variant: str,
    *arguments: str,
    moments: Sequence[Moment] = (),
    rank: int = 0,
    by: int = signal.SIGKILL,
    seeds: Sequence[str] = ("--seed", "3"),
) -> list[int]:
    """Train a variant, killed at each moment, started again, and let live; return the statuses, -9 for a kill."""
    command = [sys.executable, str(Path(__file__))]
    command += ["--study", "killed", "--variant", variant, *seeds, *arguments]
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    own |= {"KILLED_ROOT": str(root), "KILLED_AT": json.dumps([*moments, None]), "KILLED_RANK": str(rank)}
    own["KILLED_BY"] = str(int(by))
    environment = {**os.environ, **own}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    statuses = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("status ")]
    assert statuses[-1:] == [0], f"{done.stdout}\n{done.stderr}"
    return statuses


def left(folder: Path) -> dict[str, Any]:
    """Return all that a finished run has left, but for times."""
    import torch

    saved = torch.load(folder / "last.ckpt", weights_only=True)
    drop_times(saved["callbacks"])
    rows = list(csv.DictReader((folder / "curve.csv").open()))
    seconds = [float(row.pop("seconds")) for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    return {
        "checkpoint": saved,
        "record": record_without_times(folder / "training.json"),
        "curve": rows,
        "probe": (folder / "probe.csv").read_text(),
        "model": {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("model/**/*.*"))},
        "files": {path.name for path in folder.iterdir()}
        - {"log.txt", "attempt.json", "outcome.json", ".attempt.lock"},  # a launcher's
    }


def drop_times(callbacks: dict[str, Any]) -> None:
    """Drop the times from the state of a training's callbacks."""
    curve = callbacks["Curve"]
    for row in (curve, *curve["rows"], callbacks["Throughput"]["before"]):
        assert row.pop("seconds") > 0
    for row in callbacks["History"]["rows"]:
        for name in HISTORY_TIMES:
            row.pop(name, None)


def record_without_times(path: Path) -> dict[str, Any]:
    return {key: value for key, value in json.loads(path.read_text()).items() if key not in RECORD_TIMES}


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare nested results to the bit, and name the place of a difference."""
    import torch

    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, (mine, yours) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, yours, f"{where}[{place}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, f"{where}: {one} and {other}"


def _main() -> None:
    from experiments.commands import train
    from experiments.common import cli
    from experiments.training import callbacks, losses

    cli.ROOT = Path(os.environ["KILLED_ROOT"])  # type: ignore[misc]
    for module in (callbacks, losses):
        module.READ_EVERY = 4  # type: ignore[attr-defined]  # some rows for W&B in so short a run
    import experiments.training.stopping  # noqa: F401 - loads torch and Lightning, once for all starts

    moments = json.loads(os.environ["KILLED_AT"])
    if "LOCAL_RANK" in os.environ:  # a further rank of a training under way
        _live(lambda: cli.run(train.main), moments[0])
    for moment in moments:
        child = os.fork()
        if child == 0:
            os.environ["KILLED_AT"] = json.dumps([moment])
            _live(lambda: cli.run(train.main), moment)
        print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _live(run: Callable[[], None], moment: Moment | None) -> NoReturn:
    """Run in this process, to its end or to the moment."""
    status = 0
    if moment and os.environ.get("LOCAL_RANK", "0") == os.environ["KILLED_RANK"]:
        sys.setprofile(_killer(*moment))
    try:
        run()
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.setprofile(None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _killer(name: str, entry: int, calls: int) -> Callable[..., None]:
    entries, passed = count(1), count(1)
    entered = False

    def look(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal entered
        if event not in ("call", "c_call"):
            return
        if entered and next(passed) == calls:
            os.kill(os.getpid(), int(os.environ["KILLED_BY"]))
        if event == "call" and frame.f_code.co_name == name and not entered:
            entered = next(entries) == entry

    return look


if __name__ == "__main__":
    _main()
