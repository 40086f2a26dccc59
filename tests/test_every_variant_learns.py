"""Every choice trains: a small model of each learns eight pairs by heart."""

import random

import pytest
import torch

from lit_transformer.config import ModelConfig, OptimConfig
from lit_transformer.training.objective import build_objective
from lit_transformer.transformer import build_transformer
from tests.small_models import VARIANTS, VOCAB, batch_of

STEPS = 60
EVERY = 8  # of this many variants one is met in the quick tests too
BY_HEART = 0.25  # nats a token
# Nothing goes by their sub-layers, or their norm takes most of it away: in so few steps these only begin to learn.
SLOW = ("norm.kind=instance", "norm.kind=dyt", "residual.kind=none", "no residual", "no norm, no residual", "instance,")

variants = [
    pytest.param(config, name, id=name, marks=() if place % EVERY == 0 else pytest.mark.slow)
    for place, (name, config) in enumerate(VARIANTS.items())
]


def eight_pairs() -> list[tuple[list[int], list[int]]]:
    """Return sources of 1 to 8 tokens and their mirror images."""
    draw = random.Random(1)
    sources = [[draw.randrange(4, VOCAB) for _ in range(length)] for length in range(1, 9)]
    return [(source, source[::-1]) for source in sources]


@pytest.mark.parametrize(("config", "name"), variants)
def test_it_learns_eight_pairs(config: ModelConfig, name: str) -> None:
    torch.manual_seed(0)
    model, pairs = build_transformer(config, VOCAB), eight_pairs()
    objective, batch = build_objective(OptimConfig(label_smoothing=0.0), VOCAB), batch_of(pairs)
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        nats, auxiliary = objective(model, batch)
        loss = nats / batch.target_tokens
        adam.zero_grad()
        sum(auxiliary.values(), loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        losses.append(loss.item())
    assert losses[0] > 2.0  # nats a token
    assert losses[-1] < (0.6 * losses[0] if name.startswith(SLOW) else BY_HEART)
