"""Naive twins of the model's components: one sentence at a time, a head at a time, in plain products.

Everything is read from the config here again; of the model only the weights are taken. Nothing is padded or cached.
"""
