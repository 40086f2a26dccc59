"""Translating a stream: one line out per line in, in order, whatever is in it; and mistakes reported in one line."""

import io
import math
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from experiments.commands import translate
from experiments.config.cell import Cell
from experiments.config.study import load_study
from experiments.reporting.page.attention import MAX_SENTENCES as SENTENCES_OF_A_PAGE
from experiments.scoring import inference, translator
from experiments.scoring.inference import load_models, to_line, translate_ids
from experiments.scoring.translator import Line, Translator, translate_stream, windows
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import DecodeConfig, Ensemble
from lit_transformer.decoding import DecoderState, EnsembleState, beam_search, ensemble_step
from lit_transformer.errors import UserError
from lit_transformer.inference import max_target_lengths
from lit_transformer.tokens import EOS
from lit_transformer.transformer import Transformer
from tests.small_cell import SENTENCES, command, environment

ODD = [
    "e\u0301 u\u0308 combining",
    "שלום עולם",
    "\u202eright to left",
    "👩\u200d🔬 🇩🇪",
    "two\u2028in one\u2029here\x85and\x0bthere\x0c\x1c",
    "nul\x00byte",
    "\ufffd <pad> </s> \ufeff",
    "\U0010ffff",
    "tab\tin it",
]


pytestmark = pytest.mark.usefixtures("standing")


def build(variant: str = "base", *overrides: str, **options: object) -> Translator:
    cell = Cell(load_study("tiny"), variant, 3, overrides)
    networks, corpus = load_models([cell])
    return Translator(networks, corpus.tokenizer, cell.config, **options)


def translated(data: bytes, own: Translator | None = None) -> list[str]:
    target = io.BytesIO()
    translate_stream(own or build(), io.BytesIO(data), target)
    assert target.getvalue() == b"" or target.getvalue().endswith(b"\n")
    return target.getvalue().decode().split("\n")[:-1]


def test_one_line_for_each_in_order_whatever_the_windows() -> None:
    own = build()
    words = " ".join(SENTENCES).split()
    lines = [" ".join(random.Random(place).choices(words, k=1 + place % 9)) for place in range(40)]
    alone = [next(own.translate([Line(1, line)])) for line in lines]
    assert len(set(alone)) > 5
    assert translated("\n".join(lines).encode() + b"\n") == alone
    small = [text for window in windows([line.encode() for line in lines], 7) for text in own.translate(window)]
    assert small == alone


def test_a_translation_is_the_best_of_the_beam_and_no_longer_than_allowed() -> None:
    own = build()
    ids = own.tokenizer.encode(SENTENCES[0])
    (best,) = translate_ids(own.networks, [ids], own.config.decode)
    assert translated(SENTENCES[0].encode()) == [to_line(own.tokenizer, best[0].tokens)]
    assert len(best[0].tokens) <= len(ids) + own.config.decode.extra_length
    assert max_target_lengths(torch.tensor([len(ids) + 1]), own.networks, own.config.decode).tolist() == [len(ids) + 3]


def test_odd_text_tears_no_line() -> None:
    assert len(translated("\n".join(ODD).encode())) == len(ODD)
    tokenizer = build().tokenizer
    for text in ODD:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert "\n" not in to_line(tokenizer, tokenizer.encode(f"a\n{text}\r\n"))
    seen = [line.text for window in windows([text.encode() for text in ODD]) for line in window]
    assert seen[4] == "two in one here and there"
    assert [text for place, text in enumerate(seen) if place != 4] == [
        text for place, text in enumerate(ODD) if place != 4
    ]


@pytest.mark.parametrize(
    "data", [b"a dog\nthe cat", b"a dog\nthe cat\n", b"a dog\r\nthe cat\r\n", b"\xef\xbb\xbfa dog\n  the cat\t"]
)
def test_ends_of_lines(data: bytes) -> None:
    assert translated(data) == translated(b"a dog\nthe cat\n")


def test_empty_and_blank_lines_stay_empty() -> None:
    assert translated(b"") == []
    assert translated(b"\n") == [""]
    lines = translated(b"a dog\n\n  \t \xe2\x80\x83\nthe cat\n\n")
    assert [bool(line) for line in lines] == [True, False, False, True, False]


def test_bytes_that_are_no_text_end_it_after_the_lines_before() -> None:
    target = io.BytesIO()
    with pytest.raises(UserError, match=r"^line 3 is not UTF-8 \(byte 0xff at place 3\); convert"):
        translate_stream(build(), io.BytesIO(b"a dog\nthe cat\nab\xff\nthe dog\n"), target)
    assert target.getvalue().decode().split("\n") == [*translated(b"a dog\nthe cat"), ""]


def test_a_line_of_two_thousand_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(network: Transformer, tokens: torch.Tensor, state: DecoderState) -> tuple[torch.Tensor, DecoderState]:
        """Say the end of the sentence, so that the test does not last."""
        logits, state = step(network, tokens, state)
        return logits.index_fill(1, torch.tensor([EOS]), 99.0), state

    line = "the old dog sleeps " * 500
    own, step = build("base", "decode.beam=1"), Transformer.step
    monkeypatch.setattr(Transformer, "step", lambda *given: step(*given) if given[2].seq_len < 4 else ended(*given))
    data = f"a dog\n{line}\nthe cat\n".encode()
    lines = translated(data, own)
    assert len(lines) == 3
    assert all(lines)


@pytest.mark.parametrize(
    ("variant", "longest", "why"),
    [
        ("learned", 8192, "and the learned positions of this model end at 24: split it, or raise model.positions"),
        ("base", 24, "and no source of more than 24 is translated: split it"),
    ],
)
def test_a_line_that_is_too_long_is_left_empty_and_the_others_are_translated(
    variant: str, longest: int, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(translator, "LONGEST", longest)
    own, target = build(variant), io.BytesIO()
    letters = "z" * 22  # 23 tokens with the blank in front, 24 with EOS
    assert len(own.tokenizer.encode(letters)) == 23
    with pytest.raises(UserError, match=r"^the translation of line 3 is empty, for the reason above; all others are"):
        translate_stream(own, io.BytesIO(f"a dog\n{letters}\n{letters}z\nthe cat\n".encode()), target)
    first, full, empty, last = target.getvalue().decode().splitlines()
    assert [first, full, last] == translated(f"a dog\n{letters}\nthe cat\n".encode(), build(variant))
    assert (empty, own.left_empty) == ("", [3])
    assert f"line 3 has 24 tokens, {why}" in capsys.readouterr().err


def test_where_memory_ends_only_the_line_that_needs_too_much_is_left_empty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(networks: list[Transformer], sources: list[list[int]], *rest: object) -> object:
        if max(map(len, sources)) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return translate_ids(networks, sources, *rest)

    monkeypatch.setattr(translator, "translate_ids", full)
    own, target = build("base", "decode.beam=2"), io.BytesIO()
    with pytest.raises(UserError, match=r"^the translation of 2 lines, the first of them 2, is empty"):
        translate_stream(own, io.BytesIO(b"a dog\n" + b"z" * 30 + b"\nthe cat\n\n" + b"z" * 40 + b"\n"), target)
    lines = target.getvalue().decode().splitlines()
    assert lines == [*translated(b"a dog", build("base", "decode.beam=2")), "", *lines[2:3], "", ""]
    assert lines[2:3] == translated(b"the cat", build("base", "decode.beam=2"))
    assert "line 5 has" in capsys.readouterr().err
    assert own.left_empty == [2, 5]


def test_a_tab_in_a_translation_makes_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translator, "to_line", lambda tokenizer, tokens: "ein\tHund")
    assert translated(b"a dog\n") == ["ein\tHund"]
    (row,) = translated(b"a dog\n", build(scores=True))
    assert row.split("\t")[2:] == ["ein Hund"]


def test_nbest_and_scores() -> None:
    own = build("base", nbest=3, scores=True)
    rows = [line.split("\t") for line in translated(b"a dog\n\nthe cat sees\n", own)]
    assert len(rows) == 9
    assert rows[3:6] == [["0.0000", "0.0000", ""]] * 3
    for first in (0, 6):
        scores = [float(row[0]) for row in rows[first : first + 3]]
        assert scores == sorted(scores, reverse=True)
        assert len({row[2] for row in rows[first : first + 3]}) == 3
    (best,) = translate_ids(own.networks, [own.tokenizer.encode("a dog")], own.config.decode, nbest=3)
    assert rows[:3] == [[f"{h.score:.4f}", f"{h.log_prob:.4f}", to_line(own.tokenizer, h.tokens)] for h in best]
    assert [row[2] for row in rows[::3]] == translated(b"a dog\n\nthe cat sees\n")


def test_a_hypothesis_that_is_not_there_keeps_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        translator, "translate_ids", lambda *given: [best[:1] for best in inference.translate_ids(*given)]
    )
    rows = [line.split("\t") for line in translated(b"a dog\n", build(nbest=2, scores=True))]
    assert rows[1] == ["-inf", "-inf", ""]
    assert math.isfinite(float(rows[0][0]))


@pytest.mark.parametrize("kind", Ensemble)
def test_an_ensemble_averages_its_members(kind: Ensemble) -> None:
    study = load_study("tiny")
    networks, corpus = load_models([Cell(study, "base", seed) for seed in (3, 4)])
    ids = [corpus.tokenizer.encode(text) for text in SENTENCES]
    config = DecodeConfig(extra_length=3, ensemble=kind)
    together = translate_ids(networks, ids, config)
    batch = TranslationBatch.from_pairs([(ids[1], [])])
    state = EnsembleState([one.init_cache(one.encode_packed(batch.src, batch.src_layout)) for one in networks])
    step = ensemble_step([one.step for one in networks], kind)
    (expected,) = beam_search(step, state, beam=4, alpha=0.6, max_lengths=torch.tensor([len(ids[1]) + 3]))
    assert together[1][0].tokens == expected[0].tokens
    assert together[1][0].score == pytest.approx(expected[0].score, rel=1e-4)
    assert together[1][0].score != pytest.approx(translate_ids(networks[:1], ids, config)[1][0].score, rel=1e-3)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str, data: bytes = b"a dog\n") -> bytes:
    """Run main() here with the given arguments; return what it wrote."""
    target = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(target, write_through=True))
    translate.main(["--study", "tiny", "--variant", "base", *arguments])
    return target.getvalue()


def test_the_first_seed_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    first = call(monkeypatch)
    assert first == call(monkeypatch, "--seed", "3")
    assert first != call(monkeypatch, "--seed", "4")


def test_an_ensemble_is_every_trained_seed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    both = call(monkeypatch, "--ensemble", "--scores")
    assert "ensemble of the seeds 3, 4" in capsys.readouterr().err
    assert both not in (call(monkeypatch, "--scores"), call(monkeypatch, "--seed", "4", "--scores"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--nbest", "0"], "--nbest is 0; it must be at least 1"),
        (["--nbest", "5"], "--nbest 5 needs .* add decode.beam=5"),
        (["--ensemble", "--seed", "3"], "leave out --seed"),
        (["--ensemble", "--attention", "page.html"], "leave out --ensemble"),
        (["--attention", "."], "is a folder"),
        (["--seed", "5"], "train the cell first"),
        (["--averaged"], "has no averaged weights"),
        (["decode.bea=5"], "decode.beam"),
        (["--ensemble", "optim.steps=20"], "an ensemble needs at least two models, and 0 of base is trained"),
    ],
)
def test_mistakes(monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        call(monkeypatch, *arguments)


def test_the_page_of_the_first_lines(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    plain = call(monkeypatch, data=b"a dog\n\nthe cat\n")
    assert call(monkeypatch, "--attention", "out/page.html", data=b"a dog\n\nthe cat\n") == plain
    page = (project / "out/page.html").read_text()
    assert '"text":"a dog"' in page
    assert '"text":"the cat"' in page
    call(monkeypatch, "--attention", "out/page.html", data=b"dog " * 200 + b"\nthe cat\n" + b"a\n" * 20)
    page = (project / "out/page.html").read_text()
    assert page.count('"text":') == SENTENCES_OF_A_PAGE
    assert '"text":"dog dog' not in page


def test_a_real_process_with_odd_input(project: Path) -> None:
    """Another locale, a NUL byte, no feed at the end: bytes in, bytes out, one line on stderr for what is no text."""
    data = "\n".join([*ODD, "", "a dog\n"]).encode() + b"\xff"
    start = command(project, "translate", "--study", "tiny", "--variant", "base", "--nbest", "2")
    done = subprocess.run(start, input=data, capture_output=True, env=environment(), cwd=project)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        f"error: line {len(ODD) + 3} is not UTF-8 (byte 0xff at place 1); convert the text, for example with iconv"
    ]
    lines = done.stdout.decode().split("\n")
    assert len(lines) == 2 * (len(ODD) + 2) + 1
    assert lines[-5:-3] == ["", ""]


def test_a_reader_that_leaves_and_ctrl_c(project: Path) -> None:
    start = command(
        project,
        "translate",
        "--study",
        "tiny",
        "--variant",
        "base",
        before="from experiments.scoring import translator; translator.WINDOW = 4",
    )
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen(start, env=environment(), cwd=project, **pipe)
    child.stdout.close()
    _, error = child.communicate(b"a dog\n" * 50)
    assert (child.returncode, error) == (1, b"")
    # A shell's background job ignores Ctrl-C and so would its children: this one hears it wherever the tests run.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(start, env=environment(), cwd=project, preexec_fn=heard, **pipe)
    child.stdin.write(b"a dog\n" * 5)
    child.stdin.flush()
    lines = [child.stdout.readline() for _ in range(4)]  # a window is written though the input goes on
    assert len(set(lines)) == 1
    child.send_signal(signal.SIGINT)
    assert child.stderr.read() == b"error: interrupted\n"
    assert child.wait() == 130
