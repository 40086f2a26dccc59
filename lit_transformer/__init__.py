"""A configurable encoder-decoder Transformer over packed tokens, its LightningModule, decoding and export.

The library knows tensors only: no corpus, study, W&B or DVC. Letters in shapes, unless a file says otherwise:

    B sentences   N tokens of a packed batch   L longest sentence   S, T source and target length   R rows in decoding
    Q, K query and key length   D d_model   H heads   G heads of keys and values   E head width (d_k or d_v)   F d_ff
    V vocabulary   W beam
"""

from typing import TYPE_CHECKING, Any

from lit_transformer.config import ModelConfig, OptimConfig

if TYPE_CHECKING:
    from lit_transformer.export import load_exported
    from lit_transformer.module import LitTransformer
    from lit_transformer.transformer import Transformer, build_transformer

__version__ = "0.1.0"

__all__ = ["LitTransformer", "ModelConfig", "OptimConfig", "Transformer", "build_transformer", "load_exported"]


def __getattr__(name: str) -> Any:
    """Import torch and Lightning only when something needs them: they take seconds."""
    if name in ("Transformer", "build_transformer"):
        from lit_transformer import transformer

        return getattr(transformer, name)
    if name == "LitTransformer":
        from lit_transformer.module import LitTransformer

        return LitTransformer
    if name == "load_exported":
        from lit_transformer.export import load_exported

        return load_exported
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
