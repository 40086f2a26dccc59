"""Table 1 of the paper, measured: what a layer of each kind costs over n tokens of width d, and how long its paths are.

settings.py   layers.yaml: sizes and options; layers.py: the kinds of layer and the paper's claims
measure.py    time, memory, operations, chains and path lengths
findings.py   exponents fitted to the measurements
report.py     tables, figures and the page

Run `python -m experiments layers`.
"""
