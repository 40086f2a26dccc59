"""Send what W&B's server does not have yet: runs that were offline, and runs whose server went away.

The server is asked how many rows it has. Of a run that it does not know, W&B's own command sends the pieces as they
lie there; of another it gets the rows that it lacks. Each row arrives once, however often this is run.
"""

import argparse
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from experiments.common import cli
from experiments.common.io import only_writer
from experiments.tracking import login as wandb_login
from experiments.tracking import wandb as tracking
from experiments.tracking.run_files import Piece, folder_of, pieces_of, rows_by_number, was_online
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import wandb

PATIENCE = 3
"""After so many runs in a row that the server does not take, the others wait for another time."""
TIMEOUT = 600
"""Seconds for one piece."""


def main() -> None:
    """Send what is missing of every run below some folders. Raises UserError for someone who is not logged in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="run folders, or what holds them (default: runs)")
    args = parser.parse_args()
    if not wandb_login.logged_in():
        raise UserError("W&B does not know you: `wandb login`, or set WANDB_API_KEY, and run the same command again")
    found = runs_under([cli.STARTED_IN / folder for folder in args.folders] or [Path("runs")])
    sent = refused = in_a_row = 0
    for folder, run_id in found:
        try:
            sent += sync(folder, run_id)
            in_a_row = 0
        except UserError as error:
            print(error, flush=True)
            refused, in_a_row = refused + 1, in_a_row + 1
            if in_a_row == PATIENCE:
                break  # it is the server, and no run of its own
    print(f"{sent} of {len(found)} runs had something to send", flush=True)
    if refused:
        raise UserError("not everything was sent, as said above; run the same command later")


def runs_under(roots: list[Path]) -> list[tuple[Path, str]]:
    """Return the run folder and the id of every run with pieces below some folders; UserError where one is missing."""
    runs = set()
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; name one that holds runs, such as runs/components")
        for log in root.rglob("*run-*/*.wandb"):
            runs.add((folder_of(log.parents[2]), log.parent.name.rpartition("-")[2]))
    return sorted(runs)


def sync(folder: Path, run_id: str) -> bool:
    """Send what the server lacks of one run, and say so in a line. Raises UserError where it does not take it.

    A run that is being trained or evaluated is left for later: its pieces still grow.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(folder))
        except UserError as busy:
            print(f"{busy}; left for later", flush=True)
            return False
        return _sync(folder, pieces_of(folder, run_id))


def _sync(folder: Path, pieces: list[Piece]) -> bool:
    pieces = [piece for piece in pieces if piece.arguments()]  # of others nothing was written before they were cut
    unsent = [piece for piece in pieces if not piece.sent]
    if not unsent:
        return False
    rows, wanted = _lacking(folder, pieces)
    for piece in wanted:
        _send(piece)
    for piece in unsent:
        piece.mark_sent()
    if rows or wanted:
        told = [f"{rows} rows"] * bool(rows) + [f"{len(wanted)} pieces as they were"] * bool(wanted)
        print(f"{folder}: {', '.join(told)}", flush=True)
    return bool(rows or wanted)


def _lacking(folder: Path, pieces: list[Piece]) -> tuple[int, list[Piece]]:
    """Give the server the rows that it lacks, where it has some; return how many, and the pieces to be sent whole."""
    unsent = [piece for piece in pieces if not piece.sent]
    with TemporaryDirectory() as place:
        run = _open(folder, pieces[0], Path(place))
        known, has = run.starting_step, set(run.summary.keys())
        fresh = known == 0 and not was_online(pieces)
        given = 0 if fresh else tracking.give_rows(run, rows_by_number(pieces))
        tracking.finish()
        if given:
            took = _open(folder, pieces[0], Path(place)).starting_step - known
            tracking.finish()
            if took < given:
                raise UserError(f"{folder}: W&B took {took} of {given} rows; nothing is lost")
    if fresh:
        return 0, unsent
    return given, [piece for piece in unsent if not piece.of_training and piece.summary_keys() - has]


def _open(folder: Path, piece: Piece, place: Path) -> "wandb.Run":
    try:
        return tracking.open_run(place, "online", **piece.arguments())
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{folder}: W&B does not answer ({reason}); nothing is lost") from None


def _send(piece: Piece) -> None:
    """Send a piece as it lies there."""
    command = [sys.executable, "-m", "wandb", "sync", str(piece.path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise UserError(f"{piece.path}: W&B did not take it in {TIMEOUT} s; nothing is lost") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise UserError(f"{piece.path}: W&B did not take it ({said[-1]}); nothing is lost")
