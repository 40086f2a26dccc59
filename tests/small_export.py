"""What tests of exported models share: what fits into Marian's heads, trained networks, our translations, seals."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lit_transformer.config import (
    AttentionConfig,
    AttentionDelta,
    EmbeddingConfig,
    FeedForward,
    FeedForwardConfig,
    Mask,
    ModelConfig,
    NormConfig,
    OptimConfig,
    Placement,
    PositionConfig,
    Positions,
    Residual,
    ResidualConfig,
    Scale,
    Score,
    Tying,
)
from lit_transformer.decoding import beam_search
from lit_transformer.export.folder import checksum
from lit_transformer.training.objective import build_objective
from lit_transformer.transformer import Transformer, build_transformer
from tests.small_models import BASE, VOCAB, batch_of, sorted_out

FITS = replace(BASE, d_model=24)  # into which three heads of width 6 fit
CHOICES = sorted_out(FITS)[0]
EVERYTHING = ModelConfig(  # all that is folded, at once
    d_model=24,
    encoder_layers=3,
    decoder_layers=2,
    attention=AttentionConfig(heads=2, d_k=5, d_v=3, kv_heads=1, scale=Scale.learned, mask=Mask.minus_1e9, bias=True),
    encoder_attention=AttentionDelta(score=Score.bilinear, heads=4, bias=False),
    cross_attention=AttentionDelta(scale=Scale.none, d_k=7, kv_heads=0),
    feed_forward=FeedForwardConfig(FeedForward.swish, d_ff=20),
    positions=PositionConfig(Positions.learned, max_length=40),
    norm=NormConfig(placement=Placement.deep_norm, eps=1e-3),
    residual=ResidualConfig(Residual.rezero),
    embeddings=EmbeddingConfig(Tying.none, scale=False),
    dropout=0.0,
)
_draw = random.Random(1)
SOURCES = [[_draw.randrange(4, VOCAB) for _ in range(length)] for length in range(1, 9)]
UNSEEN = [[_draw.randrange(4, VOCAB) for _ in range(length)] for length in range(1, 25)]


def trained(config: ModelConfig, steps: int) -> Transformer:
    """Let a network learn a little to say eight sources backwards: enough to end its sentences, at various places."""
    model = build_transformer(config, VOCAB)
    objective, batch = build_objective(OptimConfig(), VOCAB), batch_of([(source, source[::-1]) for source in SOURCES])
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        nats, _ = objective(model, batch)
        adam.zero_grad()
        (nats / batch.target_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return model.eval()


def translated(network: Transformer, sources: list[list[int]], beam: int, limit: int) -> list[list[int]]:
    """Translate by our own search with alpha 0, at most `limit` tokens each, EOS included; return ids without EOS."""
    batch = batch_of([(source, []) for source in sources])
    with torch.inference_mode():
        state = network.init_cache(network.encode_packed(batch.src, batch.src_layout))
        limits = torch.full((len(sources),), limit)
        found = beam_search(network.step, state, beam=beam, alpha=0.0, max_lengths=limits)
    return [hypotheses[0].tokens for hypotheses in found]


def reseal(folder: Path, **changes: Any) -> None:
    """Change config.json of an exported model, and make its checksum fit what the folder holds."""
    content = json.loads((folder / "config.json").read_text()) | changes
    content["sha256"] = checksum(content, (folder / "model.safetensors").read_bytes())
    (folder / "config.json").write_text(json.dumps(content))
