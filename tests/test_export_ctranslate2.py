"""Networks in CTranslate2: the translations are ours, greedy and by beam, for every choice that it can express."""

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.exporting.ctranslate2_model import CTRANSLATE2_ACTIVATIONS, save_ctranslate2
from lit_transformer.config import DecodeConfig, ModelConfig
from lit_transformer.errors import UserError
from lit_transformer.export.marian import obstacles, to_marian
from lit_transformer.transformer import Transformer
from tests.small_export import CHOICES, EVERYTHING, FITS, SOURCES, UNSEEN, trained, translated
from tests.small_models import VOCAB, assert_close, batch_of, build

ctranslate2 = pytest.importorskip("ctranslate2")
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", *(chr(ord("a") + place) for place in range(VOCAB - 4))]
SAME = {name: config for name, config in CHOICES.items() if not obstacles(config)}


def translations(
    network: Transformer, folder: Path, sources: list[list[int]], beam: int, limit: int, **settings: Any
) -> list[list[int]]:
    """Write a network, let CTranslate2 load it, and translate with what is no length penalty; return ids."""
    save_ctranslate2(to_marian(network, DecodeConfig()), TOKENS, folder)
    translator = ctranslate2.Translator(str(folder), compute_type="float32", intra_threads=1)
    found = translator.translate_batch(
        [[TOKENS[token] for token in source] for source in sources],
        beam_size=beam,
        length_penalty=1e-9,
        max_decoding_length=limit,
        min_decoding_length=0,
        **settings,
    )
    return [[TOKENS.index(token) for token in one.hypotheses[0]] for one in found]


@pytest.mark.parametrize("name", SAME)
def test_every_choice_translates_greedily_as_ours_or_is_refused(name: str, tmp_path: Path) -> None:
    network, forbidden = build(SAME[name]).eval(), [["<pad>"], ["<s>"]]  # which an untrained network would say
    if SAME[name].feed_forward.kind.value not in CTRANSLATE2_ACTIVATIONS:
        with pytest.raises(UserError, match=r"no activation relu2 \(possible: relu, gelu, swish\)"):
            translations(network, tmp_path, SOURCES, 1, 9)
        return
    expected = translated(network, SOURCES, 1, 9)
    assert translations(network, tmp_path, SOURCES, 1, 9, suppress_sequences=forbidden) == expected
    assert any(expected)


@pytest.mark.parametrize("config", [FITS, EVERYTHING], ids=["fits", "everything"])
def test_translations_of_half_trained_networks_are_ours(config: ModelConfig, tmp_path: Path) -> None:
    lengths, found = set(), []
    for steps in (12, 60):
        network = trained(config, steps)
        for beam in (1, 4):
            found.append(translated(network, UNSEEN, beam, 14))
            assert translations(network, tmp_path, UNSEEN, beam, 14) == found[-1]
            lengths |= set(map(len, found[-1]))
    assert len(lengths) > 5
    assert found[2] != found[3]  # the beam finds something else


def test_log_probabilities_are_ours(tmp_path: Path) -> None:
    """Scores of given translations: what no search decides."""
    network = trained(EVERYTHING, 25)
    save_ctranslate2(to_marian(network, DecodeConfig()), TOKENS, tmp_path)
    translator = ctranslate2.Translator(str(tmp_path), compute_type="float32", intra_threads=1)
    pairs = list(zip(UNSEEN[:8], SOURCES, strict=True))
    batch = batch_of(pairs)
    with torch.no_grad():
        every = network.logits(network.hidden(batch)).log_softmax(1)
    expected = every.gather(1, batch.tgt_out[:, None])[:, 0]
    source, target = ([[TOKENS[token] for token in pair[side]] for pair in pairs] for side in (0, 1))
    scores = translator.score_batch(source, target)
    assert_close(torch.tensor([value for one in scores for value in one.log_probs]), expected, 1e-4)
