"""The models of the paper's Table 3, with our vocabulary's parameters."""

from dataclasses import replace
from typing import Any

from lit_transformer.config import AttentionConfig, FeedForwardConfig, ModelConfig, PositionConfig, Positions

PAPER_VOCAB = 37_000


def attention(**changes: Any) -> AttentionConfig:
    return replace(AttentionConfig(), **changes)


TABLE3_MODELS = {
    "base": (ModelConfig(), 63_045_632),
    "h1": (ModelConfig(attention=attention(heads=1, d_k=512, d_v=512)), 63_045_632),
    "h4": (ModelConfig(attention=attention(heads=4, d_k=128, d_v=128)), 63_045_632),
    "h16": (ModelConfig(attention=attention(heads=16, d_k=32, d_v=32)), 63_045_632),
    "h32": (ModelConfig(attention=attention(heads=32, d_k=16, d_v=16)), 63_045_632),
    "dk16": (ModelConfig(attention=attention(d_k=16)), 55_967_744),
    "dk32": (ModelConfig(attention=attention(d_k=32)), 58_327_040),
    "N2": (ModelConfig(encoder_layers=2, decoder_layers=2), 33_644_544),
    "N4": (ModelConfig(encoder_layers=4, decoder_layers=4), 48_345_088),
    "N8": (ModelConfig(encoder_layers=8, decoder_layers=8), 77_746_176),
    "d256": (ModelConfig(d_model=256, attention=attention(d_k=32, d_v=32)), 26_816_512),
    "d1024": (ModelConfig(d_model=1024, attention=attention(d_k=128, d_v=128)), 163_815_424),
    "ff1024": (ModelConfig(feed_forward=FeedForwardConfig(d_ff=1024)), 50_450_432),
    "ff4096": (ModelConfig(feed_forward=FeedForwardConfig(d_ff=4096)), 88_236_032),
    "drop0": (ModelConfig(dropout=0.0), 63_045_632),
    "drop0.2": (ModelConfig(dropout=0.2), 63_045_632),
    "ls0": (ModelConfig(), 63_045_632),
    "ls0.2": (ModelConfig(), 63_045_632),
    "learned": (ModelConfig(positions=PositionConfig(kind=Positions.learned)), 63_307_776),
    "big": (
        ModelConfig(
            d_model=1024, attention=attention(heads=16), feed_forward=FeedForwardConfig(d_ff=4096), dropout=0.3
        ),
        214_171_648,
    ),
}
