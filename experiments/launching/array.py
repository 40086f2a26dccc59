"""A study as an array of a scheduler's jobs, a cell each: what experiments/launching/slurm/cells.sbatch runs.

    python -m experiments.launching.array --study S --list        # prepares the data, prints the stale cells
    python -m experiments.launching.array --study S --cell base-0

A cell that is told to stop (SIGTERM, as before the end of its time or when it is preempted) writes a checkpoint and
asks Slurm for another turn; one that crashes does so as often as --retries allows. Exit status: 0 done, 2 a user's
mistake, 1 given up, 143 stopped.
"""

import argparse
import os
import signal
import subprocess
import sys
import time

from experiments.common import cli, machine
from experiments.common.io import read_json, write_json
from experiments.config.study import load_study
from experiments.launching.attempts import LOG, Attempt, End, Job, Verdict
from experiments.launching.jobs import RETRIES, job_of, stale_cells
from experiments.launching.pipeline import Pipeline
from experiments.launching.signals import stop_as_on_ctrl_c, told_once
from lit_transformer.errors import UserError, nearest

CRASHES = "crashes.json"
"""In the run folder: the crashes so far. Slurm's own count of restarts has the turns in it whose time was over."""


def main() -> None:
    """Parse the command line; list the cells, or run one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="print the stale cells, one a line")
    what.add_argument("--cell", metavar="VARIANT-SEED", help="run this cell's stages")
    parser.add_argument("--retries", type=cli.at_least(0), default=RETRIES, help="turns after a crash (%(default)s)")
    args = parser.parse_args()
    study = load_study(args.study)
    pipeline = Pipeline.of(study)
    if args.list:
        if "prepare" in pipeline.stale():
            pipeline.call("prepare", out=sys.stderr)
        for cell in stale_cells(study, pipeline, pipeline.stale()):
            print(f"{cell.variant}-{cell.seed}")
        return
    jobs = {f"{cell.variant}-{cell.seed}": job_of(cell, pipeline) for cell in study.cells()}
    if args.cell not in jobs:
        raise UserError(f"study {study.name} has no cell '{args.cell}'{nearest(args.cell, jobs)}")
    sys.exit(run(jobs[args.cell], args.retries))


def run(job: Job, retries: int) -> int:
    """Run one job to its end or to a stop; return the exit status."""
    stop_as_on_ctrl_c()
    threads = int(os.environ.get("SLURM_CPUS_PER_TASK") or machine.cores())
    attempt = Attempt(job, threads, mark=f"Slurm {os.environ.get('SLURM_JOB_ID')}")
    try:
        while not (end := attempt.end()):
            time.sleep(0.1)
    except KeyboardInterrupt:
        with told_once():
            attempt.stop()
        print(f"{job.name}: stopped, its checkpoint is written; it goes on in its next turn", flush=True)
        another_turn()
        return 128 + signal.SIGTERM
    return settle(job, end, retries)


def settle(job: Job, end: End, retries: int) -> int:
    """Say how a job ended, and ask for another turn where it may help; return the exit status."""
    tally = job.folder / CRASHES
    if end.verdict is not Verdict.crashed:
        tally.unlink(missing_ok=True)
    if end.verdict is Verdict.done:
        print(f"{job.name}: done in {end.seconds:.0f} s", flush=True)
        return 0
    if end.verdict is Verdict.refused:
        raise UserError(f"{job.name}: {end.reason} (see {job.folder / LOG})")
    crashes = (int(read_json(tally)) if tally.exists() else 0) + 1
    again = crashes <= retries
    told = "another turn" if again else f"given up after {crashes} crashes"
    print(f"{job.name}: crashed, {end.reason}; {told}", flush=True)
    if again:
        write_json(tally, crashes)
        another_turn()
    else:
        tally.unlink(missing_ok=True)
    return 1


def another_turn() -> None:
    """Put this job back into Slurm's queue; nothing outside a job. A line says so where that is not to be had."""
    if job := os.environ.get("SLURM_JOB_ID"):
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
            refusal = (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""
        except OSError as error:  # a container without Slurm's commands
            refusal = f"scontrol: {error.strerror}"
        if refusal:
            print(f"Slurm takes no other turn ({refusal}); submit this cell again", flush=True)


if __name__ == "__main__":
    cli.run(main)
