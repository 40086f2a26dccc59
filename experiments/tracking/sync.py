"""Sends what W&B's server lacks: runs that were offline, and runs whose server went away.

The server says how many rows it has. W&B's own command sends the files of a run that the server does not know; any
other run gets the rows that are missing. Each row arrives once, however often this is repeated.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from experiments.common.io import only_writer
from experiments.tracking import wandb as tracking
from experiments.tracking.artifacts import use_dataset
from experiments.tracking.identity import with_user_variables
from experiments.tracking.login import reason
from experiments.tracking.run_files import RunFiles, find_run_files, history_rows, may_have_rows, run_folder
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import wandb

PATIENCE = 3
"""After this many runs in a row that the server refuses, the others wait for another time."""
TIMEOUT = 600
"""Seconds for the files of one opening of a run."""


def sync_all(roots: Sequence[Path]) -> None:
    """Send what is missing of every run below some folders. Raises UserError where the server refused some.

    The user's WANDB_PROJECT, WANDB_TAGS and the like win over what the runs were logged with.
    """
    runs = runs_under(roots)
    sent = refused = refused_in_a_row = 0
    for folder, run_id in runs:
        try:
            sent += sync(folder, run_id)
            refused_in_a_row = 0
        except UserError as error:
            print(error, flush=True)
            refused, refused_in_a_row = refused + 1, refused_in_a_row + 1
            if refused_in_a_row == PATIENCE:
                break  # the server is at fault, not a run
    print(f"{sent} of {len(runs)} runs had something to send", flush=True)
    if refused:
        raise UserError("not everything was sent, for the reasons above; run the same command later")


def runs_under(roots: Sequence[Path]) -> list[tuple[Path, str]]:
    """Return the folder and id of every run below some folders. Raises UserError where a folder is missing."""
    runs = set()
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; name one that holds runs, such as runs/components")
        for log in root.rglob("*run-*/*.wandb"):
            runs.add((run_folder(log.parents[2]), log.parent.name.rpartition("-")[2]))
    return sorted(runs)


def sync(folder: Path, run_id: str) -> bool:
    """Send what the server lacks of one run; return whether there was something. Raises UserError where it refuses.

    A run that is being trained or evaluated is left for later: its files still grow.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(folder))
        except UserError as busy:
            print(f"{busy}; left for later", flush=True)
            return False
        return _sync(folder, find_run_files(folder, run_id))


def _sync(folder: Path, run_files: Sequence[RunFiles]) -> bool:
    run_files = [files for files in run_files if files.init_arguments()]  # the others are empty
    unsynced = [files for files in run_files if not files.synced]
    if not unsynced:
        return False
    rows, to_send = _send_rows(folder, run_files)
    for files in to_send:
        _send_files(files)
    if to_send and with_user_variables({}):  # W&B's command sends what the files say
        with TemporaryDirectory() as scratch:
            _open(folder, run_files[0], Path(scratch))
            tracking.finish()
    for files in unsynced:
        files.mark_synced()
    parts = [f"{rows} rows"] * bool(rows) + [f"{len(to_send)} log folders"] * bool(to_send)
    if parts:
        print(f"{folder}: {', '.join(parts)} sent", flush=True)
    return bool(parts)


def _send_rows(folder: Path, run_files: Sequence[RunFiles]) -> tuple[int, list[RunFiles]]:
    """Send the rows that the server lacks of a run it knows; return their number, and the files to be sent whole."""
    unsynced = [files for files in run_files if not files.synced]
    with TemporaryDirectory() as scratch:
        run = _open(folder, run_files[0], Path(scratch))
        rows_before, summary_keys = run.starting_step, set(run.summary.keys())
        unknown = rows_before == 0 and not may_have_rows(run_files)
        sent = 0 if unknown else tracking.log_missing_rows(run, history_rows(run_files))
        config = run_files[0].init_arguments()["config"]
        if "data_hash" in config:
            use_dataset(run, config["corpus"], config["data_hash"])
        tracking.finish()
        if sent:
            received = _open(folder, run_files[0], Path(scratch)).starting_step - rows_before
            tracking.finish()
            if received < sent:
                raise UserError(f"{folder}: W&B took {received} of {sent} rows; nothing is lost")
    if unknown:
        return 0, unsynced
    return sent, [files for files in unsynced if not files.of_training and files.summary_keys() - summary_keys]


def _open(folder: Path, files: RunFiles, scratch: Path) -> "wandb.Run":
    try:
        return tracking.open_run(scratch, "online", **files.init_arguments())
    except Exception as error:
        raise UserError(f"{folder}: W&B does not answer ({reason(error)}); nothing is lost") from None


def _send_files(files: RunFiles) -> None:
    """Send the files of one opening of a run as they are."""
    command, given = [sys.executable, "-m", "wandb", "sync", str(files.path)], with_user_variables({})
    for name in ("project", "entity"):
        if name in given:
            command += [f"--{name}", given[name]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise UserError(f"{files.path}: W&B did not take it in {TIMEOUT} s; nothing is lost") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UserError(f"{files.path}: W&B did not take it ({lines[-1]}); nothing is lost")
