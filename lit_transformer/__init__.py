"""The model: a configurable encoder-decoder Transformer over packed tokens, and its LightningModule.

Knows tensors only: no corpus, file, study, W&B or DVC. Shapes, everywhere in this package:

    B sentences   N packed tokens of a batch   L longest sentence   S, T source and target length   R decoded rows
    Q, K query and key length   D d_model   H heads   E head width (d_k or d_v)   F d_ff   V vocabulary   W beam
"""

from typing import TYPE_CHECKING, Any

from lit_transformer.config import ModelConfig
from lit_transformer.transformer import Transformer, build_transformer

if TYPE_CHECKING:
    from lit_transformer.module import LitTransformer

__all__ = ["LitTransformer", "ModelConfig", "Transformer", "build_transformer"]


def __getattr__(name: str) -> Any:
    """Import the LightningModule only when it is asked for: Lightning costs seconds that decoding need not pay."""
    if name == "LitTransformer":
        from lit_transformer.module import LitTransformer

        return LitTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
