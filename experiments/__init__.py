"""The studies: from a study.yaml to trained cells, scores and a report.

Commands, each `python -m experiments.<name>`: prepare, train, evaluate, report, launch; plan, compare, ladder, sync;
translate, export, attention; components, describe; layer_costs. A command reads, acts and writes, and nobody imports
it. What it does that with is in folders, each with a list of its files:

launching/ training/ analysis/ figures/ pages/ planning/ exporting/

and in the modules beside them, of which most are shared:

study.py, run_config.py     a study and a run's settings, as read and checked; studies/ holds the studies
cli.py, files.py            arguments and errors in a line; files that are whole or not there
machine.py, stand_ins.py    threads, products and memory of a process; what a start need not import
rates.py                    operations a second, of GPUs and of this machine
decoder.py, seals.py        a trained network, as whoever needs it loads it
averaging.py                averages of weights while a training runs; with what decides a training's result
scoring.py, perplexities.py, sentences.py   the scores of a cell, and what each sentence adds to them
probe_file.py               probe.csv
tracking.py, pieces.py, patient_run.py, wandb_login.py   everything W&B
"""
