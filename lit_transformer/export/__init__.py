"""Trained models in files that others read: tensors and a config, no pickle, no training code.

`load_exported` reads what `save_exported` wrote; `marian` says the same network in the words of Hugging Face's Marian.
"""

from lit_transformer.export.folder import load_exported, save_exported

__all__ = ["load_exported", "save_exported"]
