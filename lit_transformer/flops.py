"""Parameters and floating-point operations of a model, counted from its config alone.

An operation is one multiplication or one addition of a matrix product; norms, activations, softmaxes and embeddings'
look-ups are left out, as is usual. Attention is counted over the full square of a sentence, as kernels compute it,
causal or not. Training costs three forward passes: one forward, two products backward for each one forward.
"""

from dataclasses import dataclass

from torch import Tensor

from lit_transformer.config import ModelConfig, Norm, Placement, Positions, Tying

TRAINING_FACTOR = 3


@dataclass(frozen=True)
class Work:
    """What forward passes over sentence pairs cost depends on: sums over the pairs of S, T, S*S, T*T and S*T."""

    src: int
    tgt: int
    src_squared: int
    tgt_squared: int
    cross: int

    @classmethod
    def of_lengths(cls, src: Tensor, tgt: Tensor) -> "Work":
        """Sum up pairs of lengths (B,) and (B,)."""
        products = (src, tgt, src * src, tgt * tgt, src * tgt)
        return cls(*(int(product.sum()) for product in products))


def forward_flops(config: ModelConfig, vocab_size: int, work: Work) -> int:
    """Return the operations of the forward passes over `work`, logits included."""
    d, f, a = config.d_model, config.feed_forward.d_ff, config.attention
    query, value = 2 * d * a.heads * a.d_k, 2 * d * a.heads * a.d_v  # one projection, a token
    scores = 2 * a.heads * (a.d_k + a.d_v)  # q.k and the weighted sum, a pair of tokens
    own = 2 * query + 2 * value  # W_Q and W_K, W_V and W_O
    feed_forward = 4 * d * f
    encoder = work.src * (own + feed_forward) + work.src_squared * scores
    decoder = work.tgt * (own + feed_forward) + work.tgt_squared * scores
    cross = work.tgt * (query + value) + work.src * (query + value) + work.cross * scores
    logits = work.tgt * 2 * d * vocab_size
    return config.encoder_layers * encoder + config.decoder_layers * (decoder + cross) + logits


def training_flops(config: ModelConfig, vocab_size: int, work: Work) -> int:
    """Return the operations of training on `work`: forward and backward."""
    return TRAINING_FACTOR * forward_flops(config, vocab_size, work)


def parameter_count(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of trained parameters, shared matrices counted once."""
    d, f, a = config.d_model, config.feed_forward.d_ff, config.attention
    attention = 2 * d * a.heads * (a.d_k + a.d_v)
    if a.bias:
        attention += a.heads * (2 * a.d_k + a.d_v) + d
    norm = _norm_parameters(config.norm.kind, d)
    feed_forward = 2 * d * f + f + d
    encoder = config.encoder_layers * (attention + feed_forward + 2 * norm)
    decoder = config.decoder_layers * (2 * attention + feed_forward + 3 * norm)
    final = 2 * norm if config.norm.placement is Placement.pre else 0
    positions = 2 * config.positions.max_length * d if config.positions.kind is Positions.learned else 0
    embeddings = vocab_size * d * (1 if config.embeddings.tying is Tying.three_way else 3)
    return encoder + decoder + final + positions + embeddings


def _norm_parameters(kind: Norm, d_model: int) -> int:
    return {Norm.layer: 2, Norm.rms: 1, Norm.none: 0}[kind] * d_model
