"""Weights & Biases: it shows results and never decides one."""
