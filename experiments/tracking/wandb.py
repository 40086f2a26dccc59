"""Weights & Biases: one run per variant and seed, online or offline. It shows results and never decides one.

A run's id is a hash of its cell and config, so a resumed training and a later evaluation add to the same run. Offline,
training and evaluation each leave files with that id (`run_files`), and `python -m experiments sync` sends what the
server lacks. A resumed training logs all its rows again (`training.callbacks.History`), so its earlier offline files
are removed unless they were sent. A failure here never stops a training: it costs one line on stderr.
`wandb leet <run folder>/wandb` shows an offline run.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.common.io import only_writer
from experiments.tracking.artifacts import TrainedModel, log_model, use_dataset
from experiments.tracking.identity import RunIdentity, with_user_variables
from experiments.tracking.login import reason, warn
from experiments.tracking.run_files import (
    TRAINING,
    drop_local,
    find_run_files,
    history_rows,
    may_have_rows,
    offline_folder,
    run_folder,
    set_aside,
    synced_rows,
)
from experiments.tracking.scores import headline, score_rows, signatures

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"  # optimiser steps, as Lightning's own logger would call them
CURVES = ("train/*", "valid/*", "cost/*", "lr")
PROBES = "probe/*"  # curves only: some hundred of them would bury the scores of a summary
# A summary of "min" alone would drop the last value.
SUMMARIES = {"train/loss": "min,last", "valid/loss": "min,last", "valid/ppl": "min,last"}
START_TIMEOUT = 10  # seconds to wait for the server before going on offline
FINISH_TIMEOUT = 60  # seconds to wait at the end for rows on their way
SYSTEM_INTERVAL = 60  # seconds between samples of system load


class SafeRun:
    """A W&B run that cannot stop a training: it warns once and falls silent when W&B no longer takes rows.

    The first `known` rows, which W&B has from earlier openings of the run, are skipped.
    """

    def __init__(self, run: "wandb.Run", known: int) -> None:
        self.run = run
        self._known = known
        self._broken = False

    def log(self, row: Mapping[str, Any], number: int) -> None:
        """Add row `number` of the history, counted from 0 since the training began."""
        if self._broken or number < self._known:
            return
        try:
            self.run.log(dict(row), step=number, commit=True)
        except Exception as error:
            self._broken = True
            warn(f"{reason(error)}; the training goes on without it")


@dataclass(frozen=True)
class Findings:
    """What an evaluation shows: scores by split, the split on which cells are judged first among them, and samples.

    `samples` have the keys source, reference and hypothesis; `attention` is a page of HTML, empty for none.
    """

    scores: Mapping[str, Any]
    primary: str
    samples: Sequence[Mapping[str, str]] = ()
    attention: str = ""
    model: TrainedModel | None = None


def start_training(identity: RunIdentity, config: Mapping[str, Any], folder: Path, mode: str) -> SafeRun | None:
    """Start or resume the run of a cell, with files in `folder`/wandb; None and a warning where it cannot start.

    `config` may be nested. An online run prints its address. Of several processes, only rank 0 calls this. Close with
    `finish`.
    """
    try:
        run_files = drop_local(find_run_files(folder, identity.run_id))
        synced, offline = synced_rows(run_files), offline_folder(folder, run_files)
        run = _start(identity, folder, offline, mode, config=dict(config))
        if not run.disabled:
            Path(run.dir).with_name(TRAINING).touch()
        if not run.offline and not run.disabled:
            print(f"W&B: {run.url}", flush=True)
        define_metrics(run)
        return SafeRun(run, max(run.starting_step, synced))
    except Exception as error:
        warn(f"cannot start ({reason(error)}); the training goes on without it")
        return None


def log_scores(identity: RunIdentity, folder: Path, mode: str, findings: Findings) -> None:
    """Add what an evaluation found to the cell's run: its page has the headline scores, a table of all, and samples.

    The run may be that of another process, finished or not; nothing is raised.
    """
    if mode == "disabled":
        return
    try:
        with only_writer(folder, patience=2 * FINISH_TIMEOUT):  # `sync` may hold it
            try:
                _log_scores(identity, folder, mode, findings)
            finally:
                finish()
    except Exception as error:
        warn(f"scores not logged ({reason(error)})")


def _log_scores(identity: RunIdentity, folder: Path, mode: str, findings: Findings) -> None:
    run_files = find_run_files(folder, identity.run_id)
    local = [files for files in run_files if files.of_training and files.only_local]
    known = local[0].init_arguments() if local and mode == "online" else {}  # the server may not know the run
    run = _start(identity, folder, offline_folder(folder, run_files), mode, config=known.get("config"))
    import wandb

    online = not run.offline and not run.disabled
    if online:
        run_files = set_aside(folder, run_files)
        if may_have_rows(run_files):
            log_missing_rows(run, history_rows(run_files))  # first: the samples below are a row too
    run.config.update({"signatures": signatures(findings.scores)}, allow_val_change=True)
    run.summary.update({**_earlier_summary(run), **headline(findings.scores, findings.primary)})
    columns: list[str | int] = ["source", "reference", "hypothesis"]
    rows = [[sample[str(column)] for column in columns] for sample in findings.samples]
    page: dict[str, Any] = {
        "samples": wandb.Table(columns, rows),
        "scores": wandb.Table(["split", "score", "value", "signature"], score_rows(findings.scores)),
    }
    if findings.attention:
        page["attention"] = wandb.Html(findings.attention, inject=False, data_is_not_path=True)
    run.log(page)
    if findings.model:
        log_model(run, findings.model)
        if online:
            use_dataset(run, identity.corpus, findings.model.metadata["data_hash"])


def finish(exit_code: int = 0) -> None:
    """Close the open run, if any, waiting at most FINISH_TIMEOUT seconds for its rows; raises nothing."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    try:
        if wandb.run.step > wandb.run.starting_step:  # else wandb takes the earlier {"min": ...} for a value
            _summary_file(wandb.run).write_text(json.dumps(wandb.run.summary._as_dict(), default=str))
        wandb.finish(exit_code=exit_code)
    except Exception as error:
        warn(f"run not closed ({reason(error)})")


def open_run(folder: Path, mode: str, **arguments: Any) -> "wandb.Run":
    """Open a run, new or known, with its files in `folder`/wandb and the settings of this project.

    The user's WANDB_PROJECT, WANDB_TAGS and the like win over `arguments`. Raises what W&B raises, after START_TIMEOUT
    seconds at most; another mode may then be tried.
    """
    be_quiet()
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
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return wandb.init(
            **with_user_variables(arguments),
            mode=mode,  # type: ignore[arg-type]
            dir=folder,
            resume="allow",
            reinit="finish_previous",
            settings=settings,
        )
    except Exception:
        wandb.teardown()  # else the id stays taken by the run that did not start
        raise


def be_quiet() -> None:
    """Keep W&B from printing, before it is imported: the login prints before any settings are known."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")


def define_metrics(run: "wandb.Run") -> None:
    """Plot a training's metrics against optimiser steps, and choose what the run's summary keeps of them."""
    run.define_metric(STEP)
    for name, summary in {**dict.fromkeys(CURVES), **SUMMARIES, PROBES: "none"}.items():
        run.define_metric(name, step_metric=STEP, step_sync=True, summary=summary)


def log_missing_rows(run: "wandb.Run", rows: Mapping[int, Mapping[str, Any]]) -> int:
    """Log to an online run the rows of its training that the server lacks; return their number."""
    missing = sorted(number for number in rows if number >= run.starting_step)
    if missing:
        define_metrics(run)
    for number in missing:
        run.log(dict(rows[number]), step=number, commit=True)
    return len(missing)


def _start(identity: RunIdentity, folder: Path, offline: Path, mode: str, **arguments: Any) -> "wandb.Run":
    """Open the run: offline, with its files in that folder, where the server does not answer; else disabled."""
    fallbacks = {"online": "offline", "offline": "disabled"}
    try:
        return open_run(offline if mode == "offline" else folder, mode, **identity.arguments, **arguments)
    except Exception as error:
        if mode not in fallbacks:
            raise
        warn(f"cannot start {mode} ({reason(error)}); going on {fallbacks[mode]}")
    return _start(identity, folder, offline, fallbacks[mode], **arguments)


def _summary_file(run: "wandb.Run") -> Path:
    return run_folder(Path(run.settings.root_dir)) / "wandb" / f"summary-{run.id}.json"


def _earlier_summary(run: "wandb.Run") -> dict[str, Any]:
    """Return the summary at the last `finish`: of several offline files that are synced, the last summary stays."""
    path = _summary_file(run)
    summary = json.loads(path.read_text()) if path.is_file() else {}
    media = ("samples", "scores", "attention")
    return {key: value for key, value in summary.items() if not key.startswith("_") and key not in media}
