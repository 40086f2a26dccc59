"""The model: a configurable encoder-decoder Transformer over packed tokens, and its LightningModule.

Knows tensors only: no corpus, study, W&B or DVC, and of files those of an exported model. Shapes, everywhere in it:

    B sentences   N packed tokens of a batch   L longest sentence   S, T source and target length   R decoded rows
    Q, K query and key length   D d_model   H heads   G heads of keys   E head width (d_k or d_v)   F d_ff
    V vocabulary   W beam
A file that needs another letter, or one of these for something else, says so at its head.
"""

from typing import TYPE_CHECKING, Any

from lit_transformer.config import ModelConfig
from lit_transformer.transformer import Transformer, build_transformer

if TYPE_CHECKING:
    from lit_transformer.export import load_exported
    from lit_transformer.module import LitTransformer

__version__ = "0.1.0"

__all__ = ["LitTransformer", "ModelConfig", "Transformer", "build_transformer", "load_exported"]


def __getattr__(name: str) -> Any:
    """Import what few ask for only when they do: Lightning costs seconds that decoding need not pay."""
    if name == "LitTransformer":
        from lit_transformer.module import LitTransformer

        return LitTransformer
    if name == "load_exported":
        from lit_transformer.export import load_exported

        return load_exported
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
