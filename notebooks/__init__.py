"""Six lessons on the Transformer, in English and Korean, made from `sources/`."""

import warnings

# tqdm says so when it is imported in a kernel without widgets.
warnings.filterwarnings("ignore", message="IProgress not found")
