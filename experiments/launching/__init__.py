"""Many cells at once: what is stale, how slots are shared out, the engines that run cells, and what is seen of them.

pipeline.py     the study's dvc.yaml: what is stale, the commands of a cell
quick_dvc.py    DVC without what it does over and over in a pipeline of many stages
jobs.py         the cells that are stale, as engines run them
slots.py        how a machine's cores and GPUs, or a cluster's, are shared out; pure
gpu_probe.py    how many runs a GPU takes (--runs-per-gpu auto): measured, then decided by a pure function
keeper.py       one process a cell, which ends all of the cell's processes when its own starter goes
attempts.py     one try at a cell, and what its end means: done, a user's mistake, a crash
engine.py       the interface of the two engines
local.py        the engine of one machine: plain child processes, and how many at once
ray_engine.py   the engine of GPUs and clusters: Ray tasks
cells.py        the loop over cells, the same for both: tries again what crashed, stops everything on Ctrl-C
signals.py      who is told to stop, and who is busy stopping
board.py        what a person sees meanwhile
array.py        the cells as an array of Slurm's jobs
"""
