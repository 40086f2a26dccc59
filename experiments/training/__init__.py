"""What surrounds the optimiser steps of one training.

checkpoints.py   files to resume from; stopping.py: when they are written
losses.py        the loss of every step; callbacks.py: training curve, history for W&B, progress
throughput.py    speed, memory and gradient norm between validations
loggers.py       TensorBoard and CSV beside W&B
averaging.py     averages of the weights
probe.py         softmax and gradient statistics of the model; probe_csv.py: their file
distributed.py   one process per device, whoever starts them
record.py        training.json, written last
fused.py         several seeds as one training
"""
