"""Launching: every stale cell of a study, several at once, on one machine, a Ray cluster or Slurm.

stages.py       a study's DVC stages: which are stale, and the command that runs a cell's
resources.py    how cores and GPUs are divided among cells
supervisor.py   a small process that runs one command and leaves none of its processes behind
attempts.py     one attempt at a cell under a supervisor, and how it ended: done, user error, crash
engines/        where attempts run: child processes of this machine, or Ray tasks
cells.py        the loop over cells: retries after a crash, stops all on Ctrl-C
signals.py      requests to stop
progress.py     the progress display
slurm/          one Slurm job per cell, and submit scripts
"""
