"""Model sizes of the benchmarks, with one vocabulary size."""

from lit_transformer.config import AttentionConfig, FeedForwardConfig, ModelConfig

SIZES = {
    "tiny": ModelConfig(
        d_model=128,
        encoder_layers=2,
        decoder_layers=2,
        attention=AttentionConfig(heads=4, d_k=32, d_v=32),
        feed_forward=FeedForwardConfig(d_ff=512),
    ),
    "small": ModelConfig(
        d_model=256,
        encoder_layers=3,
        decoder_layers=3,
        attention=AttentionConfig(heads=4, d_k=64, d_v=64),
        feed_forward=FeedForwardConfig(d_ff=1024),
    ),
    "base": ModelConfig(),
    "big": ModelConfig(
        d_model=1024,
        attention=AttentionConfig(heads=16, d_k=64, d_v=64),
        feed_forward=FeedForwardConfig(d_ff=4096),
    ),
}
"""tiny: of the studies on the embedded corpus; base and big: the paper's, with the vocabulary below."""
VOCABULARY = 8000
