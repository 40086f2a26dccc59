"""What a model or a study costs before it runs.

step_times.py    the time of a training step on this machine
plan.py          operations, time and disk of every cell, and what its seeds can separate; plan_table.py prints it
looks.py         the number of cells that a study with looks runs
description.py   parameters and operations of one variant, place by place
"""
