"""Counts of sentences: they add up to sacreBLEU's score of the corpus, to the bit, and hold no text."""

import random
from pathlib import Path

import numpy as np
import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU

from experiments.scoring.bleu import score
from experiments.scoring.sentences import corpus_bleu, count_sentences, read_counts, summands, write_counts
from lit_transformer.errors import UserError

WORDS = ["der", "Hund", "z.B.", "sieht,", "dass", "(heute)", "5,300", "Gute-Laune", "„Katze“", "und", "!"]


def corpus(seed: int, sentences: int, wrong: float, longest: int = 14) -> tuple[list[str], list[str]]:
    """Return references and hypotheses that share words; now and then a hypothesis is short or empty."""
    chooser = random.Random(seed)
    references, hypotheses = [], []
    for _ in range(sentences):
        words = chooser.choices(WORDS, k=chooser.randint(1, longest))
        made = [chooser.choice(WORDS) if chooser.random() < wrong else word for word in words]
        references.append(" ".join(words))
        hypotheses.append(" ".join(made[: chooser.choice([0, 2, 99, 99, 99])]))
    return references, hypotheses


CORPORA = {
    "good": corpus(0, 200, 0.1),
    "bad": corpus(1, 50, 0.9),
    "short": corpus(2, 20, 0.3, longest=2),  # no four words in a row anywhere
    "smoothed": (["a b c d e"], ["a b c x e"]),
    "nothing right": (["a b c d e"], ["v w x y z"]),
    "empty": (["a b", "c"], ["", ""]),
}


@pytest.mark.parametrize("name", CORPORA)
def test_sums_reproduce_the_score_of_the_corpus(name: str) -> None:
    references, hypotheses = CORPORA[name]
    expected = score(references, references, hypotheses, language="de")["bleu"]
    sums = summands(count_sentences(references, hypotheses)).sum(axis=0).tolist()
    exact = BLEU.compute_bleu(sums[2:6], sums[6:], sums[0], sums[1], smooth_method="exp")
    assert exact.score == expected
    assert corpus_bleu(sums) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("tokenizer", ["zh", "char", "intl"])
def test_sums_reproduce_the_score_by_any_tokenizer(tokenizer: str) -> None:
    references, hypotheses = CORPORA["good"]
    expected = score(references, references, hypotheses, language="zh", tokenizer=tokenizer)["bleu"]
    sums = summands(count_sentences(references, hypotheses, tokenizer)).sum(axis=0)
    assert corpus_bleu(sums) == pytest.approx(expected, rel=1e-12)
    assert abs(expected - score(references, references, hypotheses, language="zh")["bleu"]) > 1e-3


def test_sums_of_any_sentences_are_their_score() -> None:
    """Drawn with repetition, many draws at once."""
    references, hypotheses = CORPORA["good"]
    counts = summands(count_sentences(references, hypotheses))
    drawn = np.random.default_rng(0).integers(0, len(references), size=(20, len(references)))
    found = corpus_bleu(counts[drawn].sum(axis=1))
    for places, own in zip(drawn, found, strict=True):
        again = BLEU().corpus_score([hypotheses[i] for i in places], [[references[i] for i in places]])
        assert own == pytest.approx(again.score, rel=1e-12)


def test_a_file_gives_back_what_it_was_given(tmp_path: Path) -> None:
    splits = {name: count_sentences(*CORPORA[name]) for name in ("good", "smoothed")}
    path = tmp_path / "sentences.csv"
    path.write_text(write_counts(splits))
    found = read_counts(path)
    assert list(found) == list(splits)
    assert all((found[name] == splits[name]).all() for name in splits)
    assert path.stat().st_size / 201 < 20, "a row stays short, for there is one for every sentence of every cell"
    _, *rows = path.read_text().splitlines()
    assert not any(word in row for row in rows for word in WORDS)
    assert rows[-1] == "smoothed,5,5,4,2,1,0"


def test_an_evaluation_of_old_has_no_counts_and_a_diverged_one_no_rows(tmp_path: Path) -> None:
    assert read_counts(tmp_path / "sentences.csv") == {}
    (tmp_path / "sentences.csv").write_text(write_counts({}))
    assert read_counts(tmp_path / "sentences.csv") == {}


def test_counts_are_an_output_of_the_evaluation() -> None:
    stage = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["evaluate"]
    assert "experiments/scoring" in stage["deps"]
    assert [out for out in stage["outs"] if "sentences.csv" in str(out)]


@pytest.mark.parametrize("text", ["", "a,b\n", "row,1,2\n", "row,1,2,3,4,5,six\n"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sentences.csv"
    path.write_text((write_counts({}) if text.startswith("row") else "") + text)
    with pytest.raises(UserError, match=r"sentences\.csv: not the counts of sentences .*; evaluate this cell again"):
        read_counts(path)
