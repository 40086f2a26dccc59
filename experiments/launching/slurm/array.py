"""One cell as a Slurm job: what happens when it ends, and how often it is requeued."""

import os
import signal
import subprocess
import time

from experiments.common import machine
from experiments.common.io import read_json, write_json
from experiments.launching.attempts import LOG, Attempt, End, Job, Verdict
from experiments.launching.signals import interrupt_on_signals, repeated_signals_ignored
from lit_transformer.errors import UserError

CRASHES = "crashes.json"
"""In the run folder: the number of crashes so far. Slurm's own restart count includes restarts after a time limit."""


def run(job: Job, retries: int) -> int:
    """Run one job until it ends or is stopped; return the exit status."""
    interrupt_on_signals()
    threads = int(os.environ.get("SLURM_CPUS_PER_TASK") or machine.cores())
    attempt = Attempt(job, threads, attempt_id=f"Slurm {os.environ.get('SLURM_JOB_ID')}")
    try:
        while not (end := attempt.end()):
            time.sleep(0.1)
    except KeyboardInterrupt:
        with repeated_signals_ignored():
            attempt.stop()
        print(f"{job.name}: stopped after a checkpoint, from which it resumes when requeued", flush=True)
        requeue()
        return 128 + signal.SIGTERM
    return settle(job, end, retries)


def settle(job: Job, end: End, retries: int) -> int:
    """Report how a job ended, and requeue it where that may help; return the exit status."""
    crash_count = job.folder / CRASHES
    if end.verdict is not Verdict.crashed:
        crash_count.unlink(missing_ok=True)
    if end.verdict is Verdict.done:
        print(f"{job.name}: done in {end.seconds:.0f} s", flush=True)
        return 0
    if end.verdict is Verdict.user_error:
        raise UserError(f"{job.name}: {end.reason} (see {job.folder / LOG})")
    crashes = (int(read_json(crash_count)) if crash_count.exists() else 0) + 1
    retry = crashes <= retries
    print(f"{job.name}: {end.reason}; {'requeued' if retry else f'given up after {crashes} crashes'}", flush=True)
    if retry:
        write_json(crash_count, crashes)
        requeue()
    else:
        crash_count.unlink(missing_ok=True)
    return 1


def requeue() -> None:
    """Put this job back into Slurm's queue; print why where that fails. Does nothing outside a job."""
    if job := os.environ.get("SLURM_JOB_ID"):
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
            refusal = (done.stderr.strip() or f"status {done.returncode}") if done.returncode else ""
        except OSError as error:  # a container without Slurm's commands
            refusal = f"scontrol: {error.strerror}"
        if refusal:
            print(f"Slurm does not requeue this job ({refusal}); submit the cell again", flush=True)
