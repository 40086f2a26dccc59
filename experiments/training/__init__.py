"""What stands around a training's steps.

checkpoints.py      files that are whole or not there; stopping.py: when they are written
losses.py           the loss of every step; callbacks.py: curve and progress; history.py: the rows for W&B
probe.py            what goes on inside the model
processes.py        one process a device, whoever starts them
training_record.py  training.json, written last
"""
