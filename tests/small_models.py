"""Small models for tests: one variant for every member of every enum and every switch of a `ModelConfig`, by itself."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lit_transformer.batch import TranslationBatch
from lit_transformer.config import (
    AttentionConfig,
    AttentionDelta,
    Cross,
    CrossConfig,
    Directions,
    EmbeddingConfig,
    FeedForward,
    FeedForwardConfig,
    Kind,
    Mixer,
    MixerConfig,
    ModelConfig,
    Norm,
    NormConfig,
    Placement,
    PositionConfig,
    Residual,
    ResidualConfig,
    Scale,
    Score,
    Tying,
)
from lit_transformer.errors import UserError
from lit_transformer.tokens import PAD
from lit_transformer.transformer import Transformer, build_transformer

VOCAB = 23
BASE = ModelConfig(
    d_model=16,
    encoder_layers=2,
    decoder_layers=2,
    attention=AttentionConfig(heads=3, d_k=4, d_v=6),  # neither product is d_model
    feed_forward=FeedForwardConfig(d_ff=24, experts=3),  # few enough that 16 tokens meet them all
    positions=PositionConfig(max_length=32),
    norm=NormConfig(groups=4),  # two features a group would be 1 and -1
    residual=ResidualConfig(rate=0.0),  # training passes of these tests repeat, as with no dropout
    dropout=0.0,
)
ONE_LAYER = ModelConfig(
    d_model=16,
    encoder_layers=1,
    decoder_layers=1,
    attention=AttentionConfig(heads=2, d_k=8, d_v=8),
    feed_forward=FeedForwardConfig(d_ff=32),
)
"""What tests of benchmarks train, of a shape that other implementations have too."""


def choices(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every member of every enum, and of every switch thrown, in a config."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from choices(value, f"{path}{field.name}.")
        elif isinstance(value, Kind):
            yield from ((f"{path}{field.name}", member) for member in type(value))
        elif isinstance(value, bool):
            yield f"{path}{field.name}", not value


def chosen(config: Any, key: str, value: Any) -> Any:
    """Return the config with another value at a dotted key; raises `UserError` where the two do not go together."""
    head, _, rest = key.partition(".")
    return replace(config, **{head: chosen(getattr(config, head), rest, value) if rest else value})


def sorted_out(base: ModelConfig) -> tuple[dict[str, ModelConfig], dict[str, str]]:
    """Return each choice that a base admits, as a config by its name, and why it refuses the others."""
    admitted, refused = {}, {}
    for key, value in choices(base):
        try:
            admitted[f"{key}={value}"] = chosen(base, key, value)
        except UserError as error:
            refused[f"{key}={value}"] = str(error)
    return admitted, refused


ADMITTED, REFUSED = sorted_out(BASE)
VARIANTS = ADMITTED | {
    "unscaled embeddings": replace(BASE, embeddings=EmbeddingConfig(tying=Tying.none, scale=False)),
    "no residual, pre-norm": replace(
        BASE, residual=ResidualConfig(Residual.none), norm=NormConfig(placement=Placement.pre)
    ),
    "rms, pre-norm": replace(BASE, norm=NormConfig(kind=Norm.rms, placement=Placement.pre)),
    "instance, sandwich": replace(BASE, norm=NormConfig(Norm.instance, Placement.sandwich, eps=0.1)),
    "batch, norm_former": replace(BASE, norm=NormConfig(kind=Norm.batch, placement=Placement.norm_former)),
    "group, norm_former": replace(BASE, norm=NormConfig(kind=Norm.group, placement=Placement.norm_former, groups=2)),
    "deep_norm, highway": replace(
        BASE, residual=ResidualConfig(Residual.highway), norm=NormConfig(placement=Placement.deep_norm)
    ),
    "no norm, no residual": replace(BASE, residual=ResidualConfig(Residual.none), norm=NormConfig(kind=Norm.none)),
    "cross-attention apart": replace(BASE, cross_attention=AttentionDelta(heads=2, d_k=6, d_v=3, score=Score.additive)),
    "shared keys": replace(BASE, attention=replace(BASE.attention, kv_heads=1)),
    "shared keys, talking": replace(BASE, attention=replace(BASE.attention, kv_heads=1, talking_heads=True)),
    "additive, learned scale": replace(
        BASE, attention=replace(BASE.attention, score=Score.additive, scale=Scale.learned)
    ),
    "near by": replace(
        BASE,
        encoder_mixer=MixerConfig(Mixer.local_attention, window=1),
        decoder_mixer=MixerConfig(Mixer.local_attention, window=2),
    ),
    "read and convolved": replace(
        BASE,
        encoder_mixer=MixerConfig(Mixer.lstm, width=5),
        decoder_mixer=MixerConfig(Mixer.dynamic_convolution, kernel=4, heads=2),
    ),
    "read forwards, one context": replace(
        BASE,
        encoder_mixer=MixerConfig(Mixer.lstm, width=5, directions=Directions.forward),
        decoder_mixer=MixerConfig(Mixer.gru),
        cross_mixer=CrossConfig(Cross.context),
    ),
    "read backwards at the bottom": replace(
        BASE, encoder_mixer=MixerConfig(Mixer.gru, width=5, directions=Directions.bottom)
    ),
    "place by place, convolved": replace(
        BASE,
        encoder_mixer=MixerConfig(Mixer.dilated_convolution),
        decoder_mixer=MixerConfig(Mixer.dilated_convolution),
        cross_mixer=CrossConfig(Cross.aligned),
    ),
    "kernels of another width": replace(
        BASE,
        encoder_mixer=MixerConfig(Mixer.dilated_convolution, kernel=5, dilations=1),
        decoder_mixer=MixerConfig(Mixer.dilated_convolution, kernel=2),
    ),
    "narrowed": replace(BASE, feed_forward=FeedForwardConfig(FeedForward.swiglu, d_ff=24, equal_parameters=True)),
    "experts, norm_former": replace(
        BASE,
        feed_forward=FeedForwardConfig(FeedForward.experts, d_ff=24, experts=2),
        norm=NormConfig(placement=Placement.norm_former),
    ),
    "one head, one layer": replace(
        BASE, encoder_layers=1, decoder_layers=1, attention=AttentionConfig(heads=1, d_k=16, d_v=16)
    ),
}

every_variant = pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())

PAIRS = [  # ids without BOS and EOS; one empty target, one source of a single token
    ([5, 6, 7, 8, 9], [10, 11, 12]),
    ([13], [14, 15, 16, 17, 18, 19]),
    ([20, 21, 22], []),
    ([4, 4, 5], [6, 7]),
]


def build(config: ModelConfig, vocab_size: int = VOCAB) -> Transformer:
    """Build a model whose every parameter is random, biases and norms included, so that no mistake multiplies by 0."""
    model = build_transformer(config, vocab_size)
    with torch.no_grad():
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.dim() == 1 or not isinstance(module, nn.Linear | nn.Embedding):
                    parameter.add_(0.3 * torch.randn_like(parameter))
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model


def batch_of(pairs: list[tuple[list[int], list[int]]] = PAIRS) -> TranslationBatch:
    return TranslationBatch.from_pairs(pairs)


def padded(batch: TranslationBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return src, tgt_in and tgt_out as rectangles padded with PAD: (B, S), (B, T), (B, T)."""
    src = batch.src_layout.pad(batch.src).masked_fill(~batch.src_layout.mask, PAD)
    tgt_in, tgt_out = (
        batch.tgt_layout.pad(ids).masked_fill(~batch.tgt_layout.mask, PAD) for ids in (batch.tgt_in, batch.tgt_out)
    )
    return src, tgt_in, tgt_out


def assert_close(one: Tensor, other: Tensor, tolerance: float = 1e-5) -> None:
    """Assert that no two entries differ by more than `tolerance`, absolute or relative."""
    torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)
