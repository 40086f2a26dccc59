"""Slurm: one job per cell (array.py, cells.sbatch), Ray inside an allocation (ray.sbatch), a Slurm on this machine."""
