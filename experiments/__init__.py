"""The studies: from a study.yaml to trained cells, scores and a report. `python -m experiments` lists the commands.

commands/    one thin module per command; nobody imports it
config/      what a study and a run are: study.yaml, cells and their paths, the typed settings of a run
common/      the command line, files, the machine
tracking/    Weights & Biases
training/    what surrounds the optimiser steps: callbacks, checkpoints, the probe, several processes, the record
scoring/     inference, BLEU, perplexity, counts per sentence
reporting/   from results to verdicts, tables, figures and pages
exporting/   other formats
layer_costs/ the paper's Table 1, measured
planning/    what a study would cost
launching/   many cells at once: DVC's stages, engines, supervision, progress, Slurm
studies/     the studies themselves
"""
