"""The paper's numbers: complete, and consistent with what the paper says of them in words."""

import pytest

from experiments.reporting import paper


def test_table_3_has_all_rows_once() -> None:
    names = [row.variant for row in paper.TABLE3]
    assert len(names) == len(set(names)) == 20
    assert [sum(row.group == group for row in paper.TABLE3) for group in "ABCDE"] == [4, 2, 7, 4, 1]


def test_sentences_of_the_paper_hold() -> None:
    """Section 6.2: one head is 0.9 BLEU below the best setting; section 6.1: big is over 2.0 above the best before."""
    heads = [paper.published(name) for name in ("base", "h1", "h4", "h16", "h32")]
    scores = {row.variant: row.bleu for row in heads if row}
    assert round(max(scores.values()) - scores["h1"], 2) == 0.9
    big, *_ = [row for row in paper.TABLE2 if row.model == "Transformer big"]
    others = [row.bleu_en_de for row in paper.TABLE2 if row.bleu_en_de and "Transformer" not in row.model]
    assert big.bleu_en_de == 28.4
    assert big.bleu_en_de - max(others) > 2.0


def test_differences_are_to_base() -> None:
    assert paper.published_difference("h1") == -0.9
    assert paper.published_difference("big") == 0.6
    assert paper.published_difference("base") is None
    assert paper.published_difference("rmsnorm") is None


def test_a_study_may_spell_a_name_without_its_dot() -> None:
    assert paper.published("drop02") is paper.published("drop0_2") is paper.published("drop0.2") is not None
    assert paper.published("ls0") is not paper.published("ls02")


def test_table_1_covers_the_four_layers() -> None:
    assert [row.layer.split(",")[0] for row in paper.TABLE1] == [
        "self-attention",
        "recurrent",
        "convolutional",
        "self-attention",
    ]


def test_a_row_implies_its_ratios_whatever_the_base() -> None:
    """N 6 -> 2 is 3 -> 1; h 8 -> 16 and dropout 0.1 -> 0.3 are twice and three times; a word stays the paper's."""
    base: dict[str, paper.Setting] = {
        "model.encoder_layers": 3,
        "model.decoder_layers": 6,
        "model.d_model": 128,
        "model.feed_forward.d_ff": 256,
        "model.attention.heads": 4,
        "model.dropout": 0.05,
        "optim.steps": 10,
        "model.positions.kind": "rotary",
    }
    rows = {row.variant: paper.implied(row, base) for row in paper.TABLE3 if row.variant in ("N2", "big", "learned")}
    assert rows["N2"] == {"model.encoder_layers": 1, "model.decoder_layers": 2}
    assert rows["learned"] == {"model.positions.kind": "learned"}
    assert rows["big"] == pytest.approx(
        {
            "model.d_model": 256,
            "model.feed_forward.d_ff": 512,
            "model.attention.heads": 8,
            "model.dropout": 0.15,
            "optim.steps": 30,
        }
    )


def test_a_row_says_in_words_what_it_changes() -> None:
    rows = {row.variant: row.change for row in paper.TABLE3}
    assert rows["base"] == ""
    assert rows["d256"] == "d_model = 256, d_k = 32, d_v = 32"
    assert rows["learned"] == "positions = learned"
