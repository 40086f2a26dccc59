"""What a study would cost before it runs.

step_times.py    steps timed on this machine
planned.py       every cell's operations, time and memory; plan_tables.py: as a reader sees them
separable.py     what so many seeds can tell apart
"""
