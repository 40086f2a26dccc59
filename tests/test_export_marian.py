"""Networks in Marian's words: every choice is the same function in Hugging Face's Marian, or refused with its key."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from experiments.exporting.marian import save_marian
from lit_transformer.config import (
    AttentionConfig,
    AttentionDelta,
    DecodeConfig,
    EmbeddingConfig,
    FeedForward,
    FeedForwardConfig,
    Mixer,
    ModelConfig,
    NormConfig,
    Placement,
    PositionConfig,
    Positions,
    Scale,
    Tying,
)
from lit_transformer.errors import UserError
from lit_transformer.export.marian import Marian, obstacles, to_marian
from lit_transformer.transformer import Transformer
from tests.small_export import CHOICES, EVERYTHING, FITS, SOURCES, UNSEEN, trained, translated
from tests.small_models import BASE, assert_close, batch_of, build, padded

PLAIN = DecodeConfig(alpha=0.0)
PAPER = replace(
    BASE, attention=AttentionConfig(heads=2, d_k=8, d_v=8), norm=NormConfig(eps=1e-5), positions=PositionConfig()
)


def in_a_folder(network: Transformer, folder: Path, decode: DecodeConfig = PLAIN) -> Any:
    """Write a network in Marian's words and let transformers load it; nothing may be missing or left over."""
    save_marian(to_marian(network, decode), folder)
    loaded, report = transformers.MarianMTModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return loaded.eval()


def saved_again(marian: Marian, folder: Path) -> Any:
    """Write a model, let transformers load and save it, and load what it saved."""
    (folder / "ours").mkdir()
    save_marian(marian, folder / "ours")
    transformers.MarianMTModel.from_pretrained(folder / "ours").save_pretrained(folder / "theirs")
    return transformers.MarianMTModel.from_pretrained(folder / "theirs").eval()


def both_logits(network: Transformer, theirs: Any) -> tuple[Tensor, Tensor]:
    """Return our logits and theirs at the real target tokens, (N_t, V)."""
    batch = batch_of()
    src, tgt_in, _ = padded(batch)
    with torch.no_grad():
        found = theirs(input_ids=src, attention_mask=(src != 0).long(), decoder_input_ids=tgt_in).logits
        return network(src, tgt_in)[batch.tgt_layout.mask], found[batch.tgt_layout.mask]


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_is_the_same_function_or_refused_by_name(name: str, tmp_path: Path) -> None:
    config = CHOICES[name]
    network = build(config).eval()
    if not obstacles(config):
        assert_close(*both_logits(network, in_a_folder(network, tmp_path)))
        return
    with pytest.raises(UserError) as error:
        to_marian(network, DecodeConfig())
    key, value = name.split("=")
    assert f"{key} is {value}" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(obstacles(config)) == 1


def test_what_marian_can_express() -> None:
    possible = defaultdict(set)
    for name, config in CHOICES.items():
        if not obstacles(config):
            key, value = name.split("=")
            possible[key].add(value)
    assert possible["positions.kind"] == {
        "sinusoidal", "sinusoidal_concatenated", "learned", "count", "binary", "none",
    }  # fmt: skip
    assert possible["norm.placement"] == {"post", "deep_norm"}
    assert possible["residual.kind"] == {"identity", "scaled", "rezero", "layer_drop"}
    assert possible["feed_forward.kind"] == {"relu", "gelu", "swish", "squared_relu"}
    assert possible["attention.score"] == {"dot", "bilinear"}
    assert possible["attention.scale"] == set(map(str, Scale))
    assert possible["embeddings.tying"] == set(map(str, Tying))


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        replace(EVERYTHING, embeddings=EmbeddingConfig(Tying.three_way)),  # the stacks multiply one matrix apart
        replace(EVERYTHING, encoder_layers=2, norm=NormConfig(eps=1e-9)),
        PAPER,
        replace(PAPER, feed_forward=FeedForwardConfig(FeedForward.gelu, d_ff=8), norm=NormConfig(eps=0.1)),
    ],
    ids=["everything", "one matrix, two factors", "a small eps", "paper", "a large eps"],
)
def test_settings_together_are_the_same_function(config: ModelConfig, tmp_path: Path) -> None:
    network = build(config).eval()
    assert_close(*both_logits(network, in_a_folder(network, tmp_path)))


def test_every_reason_is_named_at_once() -> None:
    config = replace(FITS, encoder_mixer=replace(FITS.encoder_mixer, kind=Mixer.lstm), d_model=16)
    config = replace(config, norm=NormConfig(placement=Placement.pre), cross_attention=AttentionDelta(gate=True))
    assert [reason.split(" (")[0] for reason in obstacles(config)] == [
        "model.encoder_mixer.kind is lstm",
        "model.norm.placement is pre",
        "attention.gate is True in cross",
        "the encoder's heads, 3 of 6, do not fit into heads that make up d_model, 16",
        "the decoder's heads, 3 of 6, do not fit into heads that make up d_model, 16",
    ]


def test_a_parameter_that_nobody_reads_is_an_error() -> None:
    network = build(FITS)
    network.decoder.layers[0].later = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(UserError, match=r"no place for decoder\.layers\.0\.later\.weight"):
        to_marian(network, DecodeConfig())


def generated(theirs: Any, sources: list[list[int]], limit: int, **settings: Any) -> list[list[int]]:
    """Translate by Marian's `generate`; BOS, EOS and what follows it are left out."""
    src, _, _ = padded(batch_of([(source, []) for source in sources]))
    rows = theirs.generate(input_ids=src, attention_mask=(src != 0).long(), max_new_tokens=limit, **settings).tolist()
    return [row[1 : row.index(2)] if 2 in row else [token for token in row[1:] if token] for row in rows]


@pytest.mark.parametrize("config", [FITS, EVERYTHING], ids=["fits", "everything"])
def test_translations_are_the_same_with_the_settings_of_the_folder(config: ModelConfig, tmp_path: Path) -> None:
    """Half-trained networks, which are unsure, and end their sentences anywhere or never."""
    lengths, found = set(), []
    for steps in (12, 25):
        network = trained(config, steps)
        for beam in (1, 4):
            theirs = in_a_folder(network, tmp_path, DecodeConfig(beam=beam, alpha=0.0))
            found.append(translated(network, UNSEEN, beam, limit=14))
            assert generated(theirs, UNSEEN, limit=14) == found[-1]
            lengths |= set(map(len, found[-1]))
    assert len(lengths) > 5
    assert found[2] != found[3]  # the beam finds something else


def test_translations_of_random_networks_are_the_same(tmp_path: Path) -> None:
    for _ in range(4):
        network = build(FITS).eval()
        theirs = in_a_folder(network, tmp_path, DecodeConfig(beam=4, alpha=0.0))
        for beam in (1, 4):
            settings = {"num_beams": beam, "early_stopping": beam > 1}
            assert generated(theirs, SOURCES, 9, **settings) == translated(network, SOURCES, beam, limit=9)


def test_the_folder_never_says_padding_or_bos(tmp_path: Path) -> None:
    network = build(FITS).eval()
    theirs = in_a_folder(network, tmp_path)
    plain = theirs.generate
    src, _, _ = padded(batch_of())
    assert theirs.generation_config.suppress_tokens == [0, 1]
    free = [plain(input_ids=src, num_beams=1, max_new_tokens=9, suppress_tokens=None, do_sample=True) for _ in range(9)]
    assert (torch.cat([row[:, 1:].flatten() for row in free]) == 1).any()  # it would
    drawn = torch.cat([plain(input_ids=src, num_beams=1, max_new_tokens=9, do_sample=True) for _ in range(9)])
    assert (drawn[:, 0] == 1).all()
    assert not (drawn[:, 1:] == 1).any()


SAVED_AGAIN = {
    "default": PAPER,
    "no scale, no tying": replace(PAPER, embeddings=EmbeddingConfig(Tying.none, scale=False)),
    "fewer heads": replace(PAPER, d_model=24),
}


@pytest.mark.parametrize("survives_saving", [False, True])
@pytest.mark.parametrize("name", SAVED_AGAIN)
def test_marians_own_table_is_the_papers_where_eps_is_its_own(name: str, survives_saving: bool, tmp_path: Path) -> None:
    """Marian's `save_pretrained` leaves the tables out, and its formula brings these ones back."""
    network = build(SAVED_AGAIN[name]).eval()
    theirs = saved_again(to_marian(network, replace(PLAIN, beam=1), survives_saving=survives_saving), tmp_path)
    torch.testing.assert_close(*both_logits(network, theirs), atol=1e-5, rtol=1e-5)
    assert generated(theirs, SOURCES, 9) == translated(network, SOURCES, 1, 9)


@pytest.mark.parametrize("name", SAVED_AGAIN)
def test_what_survives_saving_is_the_same_function_after_it(name: str, tmp_path: Path) -> None:
    """With an eps that is not Marian's, which other weights make up for."""
    network = build(replace(SAVED_AGAIN[name], norm=NormConfig(eps=1e-6))).eval()
    theirs = saved_again(to_marian(network, replace(PLAIN, beam=1), survives_saving=True), tmp_path)
    logits, others = both_logits(network, theirs)
    assert float((logits - others).abs().max()) <= 1e-4 * float(logits.abs().max())  # as of every export
    assert generated(theirs, SOURCES, 9) == translated(network, SOURCES, 1, 9)


def test_what_keeps_its_tables_is_another_model_once_it_is_saved(tmp_path: Path) -> None:
    network = build(replace(PAPER, norm=NormConfig(eps=1e-6))).eval()
    logits, others = both_logits(network, saved_again(to_marian(network, PLAIN), tmp_path))
    assert float((logits - others).abs().max()) > 0.1 * float(logits.abs().max())


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (replace(PAPER, positions=PositionConfig(Positions.learned, max_length=40)), "model.positions.kind is learned"),
        (
            replace(PAPER, positions=PositionConfig(Positions.sinusoidal_concatenated)),
            "model.positions.kind is sinusoidal_concatenated",  # its wave lengths are others
        ),
        (replace(PAPER, positions=PositionConfig(Positions.none)), "model.positions.kind is none"),
        (replace(PAPER, norm=NormConfig(placement=Placement.deep_norm)), "model.norm.placement is deep_norm"),
        (replace(PAPER, norm=NormConfig(eps=1e-3)), "model.norm.eps is 0.001 (possible: up to 2e-05)"),
        (replace(PAPER, norm=NormConfig(placement=Placement.pre)), "model.norm.placement is pre (possible: post"),
    ],
)
def test_what_saving_would_change_is_refused(config: ModelConfig, reason: str) -> None:
    (found,) = obstacles(config, survives_saving=True)
    assert found.startswith(reason)
    with pytest.raises(UserError, match="Marian cannot express this model"):
        to_marian(build(config), PLAIN, survives_saving=True)


def test_weights_are_the_networks_own_bits_where_nothing_is_folded() -> None:
    network = build(PAPER)
    tensors = to_marian(network, DecodeConfig()).tensors
    order = torch.cat([torch.arange(0, 16, 2), torch.arange(1, 16, 2)])
    assert torch.equal(tensors["model.shared.weight"], network.output_embedding.weight[:, order])
    part = network.encoder.layers[0].sublayers["mixer"].inner
    assert torch.equal(tensors["model.encoder.layers.0.self_attn.q_proj.weight"], part.in_proj.query.weight[:, order])
    assert torch.equal(tensors["model.encoder.layers.0.self_attn.out_proj.weight"], part.out_proj.weight[order])
