"""Every two choices of two axes meet in a model that trains, decodes with a cache and reads sentences alone."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lit_transformer.tokens import PAD
from tests.covering import all_pairs, axes_of, covering_array, with_row
from tests.small_models import BASE, PAIRS, VOCAB, assert_close, batch_of, build, padded

ROWS, REFUSED_PAIRS = covering_array(BASE)
EVERY = 12  # of this many models one is met in the quick tests too


rows = [pytest.param(row, marks=() if place % EVERY == 0 else pytest.mark.slow) for place, row in enumerate(ROWS)]


@pytest.mark.parametrize("row", rows, ids=map(str, range(len(ROWS))))
def test_a_model_of_the_covering_array(row: dict[str, Any]) -> None:
    config = with_row(BASE, row)
    model, batch = build(config), batch_of()
    hidden = model.hidden(batch)
    (F.cross_entropy(model.logits(hidden), batch.tgt_out) + sum(model.auxiliary_losses().values())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name

    model.double().eval()  # so that rounding, which sharp softmaxes and small variances enlarge, explains nothing
    together = model.logits(model.hidden(batch)).split(batch.tgt_layout.lengths.tolist())
    for pair, logits in zip(PAIRS, together, strict=True):
        alone = model.logits(model.hidden(batch_of([pair])))
        assert_close(alone, logits, 1e-8)

    src, tgt_in, _ = padded(batch)
    tgt_in = torch.where(tgt_in == PAD, VOCAB - 1, tgt_in)
    state, steps = model.init_cache(model.encode(src)), []
    for place in range(tgt_in.shape[1]):
        logits, state = model.step(tgt_in[:, place], state)
        steps.append(logits)
    if not config.attention_at.decoder.mask.leaks:
        assert_close(torch.stack(steps, 1), model(src, tgt_in), 1e-8)


def test_every_pair_is_met_or_refused_with_a_reason() -> None:
    met = {frozenset(pair) for row in ROWS for pair in _two_of(row)}
    for pair in all_pairs(axes_of(BASE)):
        assert (pair in met) != (pair in REFUSED_PAIRS)
    for why in REFUSED_PAIRS.values():
        assert "\n" not in why
        assert len(why.split()) > 8, why  # a sentence that says what to do, not a code


def _two_of(row: dict[str, Any]) -> list[list[tuple[str, Any]]]:
    items = list(row.items())
    return [[one, other] for place, one in enumerate(items) for other in items[:place]]
