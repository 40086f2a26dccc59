"""Networks in JoeyNMT: the same logits, greedy translations and scores; skipped where the package is not installed.

`make bench` installs it; no other target does.
"""

import pytest
import torch

from benchmarks.joeynmt_model import JOEYNMT_ACTIVATIONS, batch_of, require_joeynmt, to_joeynmt, translator
from lit_transformer.config import DecodeConfig, ModelConfig
from lit_transformer.errors import UserError
from lit_transformer.export.marian import obstacles, to_marian
from lit_transformer.tokens import EOS
from tests import small_models
from tests.small_export import CHOICES, EVERYTHING, FITS, UNSEEN, trained, translated
from tests.small_models import assert_close, build, padded

try:
    require_joeynmt()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)
SAME = {name: config for name, config in CHOICES.items() if not obstacles(config)} | {"everything": EVERYTHING}


@pytest.mark.parametrize("name", SAME)
def test_logits_are_ours(name: str) -> None:
    network = build(SAME[name]).eval()
    marian = to_marian(network, DecodeConfig())
    if SAME[name].feed_forward.kind.value not in JOEYNMT_ACTIVATIONS:
        with pytest.raises(UserError, match=r"no activation relu2 \(possible: relu, gelu, swish\)"):
            to_joeynmt(marian)
        return
    theirs, batch = to_joeynmt(marian), small_models.batch_of()
    src, tgt_in, _ = padded(batch)
    mask = (src != 0)[:, None]
    with torch.no_grad():
        read, *_ = theirs("encode", src=src, src_length=None, src_mask=mask)
        decoded, *_ = theirs(
            "decode",
            encoder_output=read,
            encoder_hidden=None,
            src_mask=mask,
            trg_input=tgt_in,
            unroll_steps=None,
            trg_mask=mask.new_ones(1, 1, 1),
        )
        ours = network(src, tgt_in)
    assert_close(decoded[batch.tgt_layout.mask], ours[batch.tgt_layout.mask], 1e-5)


@pytest.mark.parametrize("config", [FITS, EVERYTHING], ids=["fits", "everything"])
def test_greedy_translations_are_ours_and_most_by_beam_are(config: ModelConfig) -> None:
    """Half-trained networks, which are unsure; its beam search is another, and may find a little else."""
    lengths, found = set(), []
    for steps in (12, 60):
        network = trained(config, steps)
        theirs = to_joeynmt(to_marian(network, DecodeConfig()))
        found.append(translated(network, UNSEEN, 1, 14))
        assert translator(theirs, 1)(UNSEEN, 14) == found[-1]
        found.append(translated(network, UNSEEN, 4, 14))
        assert sum(map(list.__eq__, translator(theirs, 4)(UNSEEN, 14), found[-1])) >= 0.9 * len(UNSEEN)
        lengths |= {len(words) for ids in found for words in ids}
    assert len(lengths) > 5
    assert found[2] != found[3]  # the beam finds something else


def test_scores_of_its_beam_search_are_our_log_probabilities() -> None:
    """What no search decides: whichever translation it finds, it is worth the same to both."""
    from joeynmt.search import search

    network = trained(EVERYTHING, 60)
    theirs = to_joeynmt(to_marian(network, DecodeConfig()))
    ids, scores, _ = search(theirs, batch_of(UNSEEN), 30, 4, -1, min_output_length=0, return_prob="hyp")
    ended = [row.index(EOS) if EOS in row else None for row in ids.tolist()]
    pairs = [(source, row[:end]) for source, row, end in zip(UNSEEN, ids.tolist(), ended, strict=True) if end]
    assert len(pairs) > 10
    batch = small_models.batch_of(pairs)
    with torch.no_grad():
        every = network.logits(network.hidden(batch)).log_softmax(1).gather(1, batch.tgt_out[:, None])[:, 0]
    expected = torch.stack([one.sum() for one in every.split([len(words) + 1 for _, words in pairs])])
    found = torch.tensor([score for [score], end in zip(scores.tolist(), ended, strict=True) if end])
    assert_close(found, expected, 1e-4)
