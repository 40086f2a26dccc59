"""Everything Weights & Biases: one run a cell, online or offline. It shows results and never decides one.

A run's id is a hash of what the run is, so a resumed training and a later evaluation add to the same run; offline the
training and the evaluation leave a piece each with that id (`pieces`), and `python -m experiments sync` sends what the
server lacks. A resumed training gives all its rows again (`training.history`): its offline pieces of before go, unless
they were sent. Nothing that fails here stops a training: it costs one line on stderr. `wandb leet <run folder>/wandb`
shows an offline run.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.common.io import only_writer
from experiments.common.stand_ins import NoInputs, standing_in
from experiments.tracking.login import MODES, warn
from experiments.tracking.run_files import (
    TRAINING,
    drop_unsent,
    folder_of,
    hold,
    offline_place,
    pieces_of,
    rows_by_number,
    rows_sent,
    was_online,
)

if TYPE_CHECKING:
    import wandb

    from experiments.tracking.safe_run import PatientRun

STEP = "trainer/global_step"  # optimiser steps, as Lightning's own logger would call them
# A summary of "min" alone would drop the last value. A name in full: "*" would go before another pattern.
SUMMARIES = {"train/loss": "min,last", "valid/loss": "min,last", "valid/ppl": "min,last"}
START_TIMEOUT = 10  # seconds to wait for the server before going on offline
FINISH_TIMEOUT = 60  # seconds to wait at the end for rows on their way
SYSTEM_INTERVAL = 60  # seconds between samples of system load


def run_id(project: str, study: str, variant: str, seed: int, config_hash: str) -> str:
    """Return the id of a run, 12 characters: the same for the same cell and config on any machine."""
    return hashlib.sha256("\0".join([project, study, variant, str(seed), config_hash]).encode()).hexdigest()[:12]


def start_training(
    *,
    project: str,
    study: str,
    variant: str,
    seed: int,
    config: Mapping[str, Any],
    config_hash: str,
    folder: Path,
    tags: Sequence[str],
    mode: str,
) -> "PatientRun | None":
    """Start or resume the run of a cell; files go to `folder`/wandb. None, and a line, where nothing can be started.

    Runs are grouped by variant, so that a group is the seeds of one variant. `config` may be nested. For the first of
    several processes alone. Close with `finish`.
    """
    from experiments.tracking.safe_run import PatientRun

    cell = _Cell(project, study, variant, seed, config_hash)
    try:
        sent = rows_sent(folder, cell.run_id)
        drop_unsent(folder, cell.run_id)
        identity = {"study": study, "variant": variant, "seed": seed, "config_hash": config_hash}
        run = _start(cell, folder, mode, tags=list(tags), config={**config, **identity})
        if not run.disabled:
            Path(run.dir).with_name(TRAINING).touch()
        define_metrics(run)
        return PatientRun(run, max(run.starting_step, sent), warn)
    except Exception as error:
        warn(f"cannot start ({type(error).__name__}: {error}); the training goes on without it")
        return None


def log_scores(
    *,
    project: str,
    study: str,
    variant: str,
    seed: int,
    config_hash: str,
    folder: Path,
    mode: str,
    scores: Mapping[str, Any],
    samples: Sequence[Mapping[str, str]],
    attention: str = "",
) -> None:
    """Add a cell's scores to the summary of its run, a table of sample translations, and a page of HTML, if any.

    `scores` may be nested: {"test": {"bleu": 30.0}} becomes test/bleu; lists are left out. `samples` have the keys
    source, reference and hypothesis. The run may be that of another process, finished or not; nothing is raised.
    """
    if mode == "disabled":
        return
    cell = _Cell(project, study, variant, seed, config_hash)
    try:
        with only_writer(folder, patience=2 * FINISH_TIMEOUT):  # the command sync may be at it
            try:
                _log_scores(cell, folder, mode, scores, samples, attention)
            finally:
                finish()
    except Exception as error:
        warn(f"scores not logged ({type(error).__name__}: {error})")


def _log_scores(
    cell: "_Cell",
    folder: Path,
    mode: str,
    scores: Mapping[str, Any],
    samples: Sequence[Mapping[str, str]],
    attention: str,
) -> None:
    waiting = [piece for piece in pieces_of(folder, cell.run_id) if piece.of_training and piece.waits]
    known = waiting[0].arguments() if waiting and mode == "online" else {}  # the server may never have heard of it
    run = _start(cell, folder, mode, **{key: known[key] for key in ("tags", "config") if key in known})
    import wandb

    if not run.offline and not run.disabled:
        hold(folder, cell.run_id)
        earlier = pieces_of(folder, cell.run_id)
        if was_online(earlier):
            give_rows(run, rows_by_number(earlier))  # first: the samples below are a row too
    run.summary.update({**_kept_summary(run), **dict(_flat(scores))})
    columns: list[str | int] = ["source", "reference", "hypothesis"]
    rows = [[sample[str(column)] for column in columns] for sample in samples]
    page = {"attention": wandb.Html(attention, inject=False, data_is_not_path=True)} if attention else {}
    run.log({"samples": wandb.Table(columns, rows), **page})


def finish(exit_code: int = 0) -> None:
    """Close the open run, if there is one, waiting for its rows at most FINISH_TIMEOUT seconds; raises nothing."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    try:
        if wandb.run.step > wandb.run.starting_step:  # else wandb takes {"min": ...} of the piece before for a value
            _summary_file(wandb.run).write_text(json.dumps(wandb.run.summary._as_dict(), default=str))
        wandb.finish(exit_code=exit_code)
    except Exception as error:
        warn(f"run not closed ({type(error).__name__}: {error})")


def open_run(place: Path, mode: str, **arguments: Any) -> "wandb.Run":
    """Open a run, new or known, with its files in `place`/wandb, as every part of the project does.

    Raises what W&B raises, after START_TIMEOUT seconds at most; it may then be tried in another mode.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")  # read on import: the login speaks before any settings are known
    import wandb

    settings = wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        x_save_requirements=False,
        x_stats_sampling_interval=SYSTEM_INTERVAL,
        init_timeout=START_TIMEOUT,
        login_timeout=START_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
        finish_timeout_raises=False,
    )
    place.mkdir(parents=True, exist_ok=True)
    try:
        with standing_in("wandb.sdk.launch.inputs.internal", StagedLaunchInputs=NoInputs):
            return wandb.init(
                **arguments,
                mode=mode,  # type: ignore[arg-type]
                dir=place,
                resume="allow",
                reinit="finish_previous",
                settings=settings,
            )
    except Exception:
        wandb.teardown()  # or the id stays taken by the run that did not start
        raise


def define_metrics(run: "wandb.Run") -> None:
    """Say what a training's rows are drawn against, and what of them a run's summary keeps."""
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    for name, summary in SUMMARIES.items():
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=summary)


def give_rows(run: "wandb.Run", rows: Mapping[int, Mapping[str, Any]]) -> int:
    """Give an online run the rows of its training that the server lacks; returns how many these are."""
    missing = sorted(number for number in rows if number >= run.starting_step)
    if missing:
        define_metrics(run)
    for number in missing:
        run.log(dict(rows[number]), step=number, commit=True)
    return len(missing)


@dataclass(frozen=True)
class _Cell:
    """What makes a run the run it is."""

    project: str
    study: str
    variant: str
    seed: int
    config_hash: str

    @property
    def run_id(self) -> str:
        return run_id(self.project, self.study, self.variant, self.seed, self.config_hash)

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "project": self.project,
            "id": self.run_id,
            "name": f"{self.study}/{self.variant}/seed{self.seed}",
            "group": self.variant,
            "job_type": self.study,
        }


def _start(cell: _Cell, folder: Path, mode: str, **arguments: Any) -> "wandb.Run":
    """Open the run, offline where the server does not answer, or one that keeps nothing where that fails as well."""
    ladder = MODES[1:]
    for rung in ladder[ladder.index(mode) :]:
        place = offline_place(folder, cell.run_id) if rung == "offline" else folder
        try:
            return open_run(place, rung, **cell.arguments, **arguments)
        except Exception as error:
            if rung == ladder[-1]:
                raise
            warn(f"cannot start {rung} ({type(error).__name__}: {error}); going on {ladder[ladder.index(rung) + 1]}")
    raise AssertionError(f"{mode} is no mode")


def _summary_file(run: "wandb.Run") -> Path:
    return folder_of(Path(run.settings.root_dir)) / "wandb" / f"summary-{run.id}.json"


def _kept_summary(run: "wandb.Run") -> dict[str, Any]:
    """Return the summary of the piece before: when offline pieces are synced, the last one's summary replaces it."""
    path = _summary_file(run)
    kept = json.loads(path.read_text()) if path.is_file() else {}
    return {
        key: value for key, value in kept.items() if not key.startswith("_") and key not in ("samples", "attention")
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("a/b", value) for the numbers and words in nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float | str):
            yield f"{prefix}{key}", value
