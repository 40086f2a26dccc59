"""Scores: values derived by hand, and sacreBLEU's own command line as the judge."""

import json
import subprocess
import sys

import pytest

from experiments.scoring import by_length, exact_match, score

REFERENCES = ["the cat sat on the mat .", "a dog barks loudly today .", "yes ."]
HYPOTHESES = ["the cat sat on the mat .", "a dog barks today .", "no ."]


def test_a_perfect_translation_scores_a_hundred():
    found = score(REFERENCES, REFERENCES, REFERENCES, language="en")
    assert found["bleu"] == pytest.approx(100.0)
    assert found["chrf"] == pytest.approx(100.0)
    assert (found["exact_match"], found["brevity_penalty"], found["length_ratio"]) == (100.0, 1.0, 1.0)


def test_bleu_by_hand():
    """One sentence of 5 words against 5: precisions 4/5, 2/4, 1/3 and, smoothed exponentially, 1/(2*2)."""
    found = score(["a"], ["a b c d e"], ["a b c x e"], language="en")
    expected = 100 * (4 / 5 * 2 / 4 * 1 / 3 * 1 / 4) ** 0.25
    assert found["bleu"] == pytest.approx(expected)


def test_brevity_penalty_by_hand():
    """4 words against 6: exp(1 - 6/4)."""
    found = score(["a"], ["a b c d e f"], ["a b c d"], language="en")
    assert found["brevity_penalty"] == pytest.approx(2.718281828**-0.5)
    assert found["length_ratio"] == pytest.approx(4 / 6)


def test_equal_to_the_command_line(tmp_path):
    (tmp_path / "ref").write_text("\n".join(REFERENCES) + "\n")
    (tmp_path / "hyp").write_text("\n".join(HYPOTHESES) + "\n")
    command = [sys.executable, "-m", "sacrebleu", str(tmp_path / "ref"), "-i", str(tmp_path / "hyp")]
    printed = subprocess.run(
        [*command, "-m", "bleu", "chrf", "-w", "6"], capture_output=True, text=True, check=True
    ).stdout
    bleu, chrf = json.loads(printed)
    found = score(REFERENCES, REFERENCES, HYPOTHESES, language="en")
    assert found["bleu"] == pytest.approx(bleu["score"], abs=1e-5)
    assert found["chrf"] == pytest.approx(chrf["score"], abs=1e-5)
    assert found["bleu_signature"] == bleu["signature"]
    assert found["chrf_signature"] == chrf["signature"]


def test_exact_match_is_a_percentage():
    assert exact_match(REFERENCES, HYPOTHESES) == pytest.approx(100 / 3)


def test_buckets_hold_every_sentence_once():
    sources = ["w " * n for n in (1, 4, 5, 18, 33, 90)]
    rows = by_length(sources, sources, sources)
    assert [(row["words"], row["sentences"]) for row in rows] == [("1-4", 2), ("5-9", 1), ("15-18", 1), ("33+", 2)]
    assert all(row["exact_match"] == 100.0 for row in rows)
