"""Table 1 of the paper, measured: what one layer of each kind costs over n tokens of width d, and how far it reaches.

`measure` times passes, counts operations and memory and follows gradients; `fit` turns them into exponents; `report`
sets these beside the paper's O(). Run `python -m experiments layers`.
"""
