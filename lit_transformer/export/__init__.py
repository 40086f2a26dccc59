"""Trained models in files: tensors and a config, read without pickle and without training code.

`load_exported` reads what `save_exported` wrote; `marian` converts a network to Hugging Face's Marian.
"""

from lit_transformer.export.folder import exported_provenance, load_exported, save_exported

__all__ = ["exported_provenance", "load_exported", "save_exported"]
