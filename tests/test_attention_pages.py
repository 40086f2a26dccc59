"""The page and the pictures of what a model attends to: whole, alone, harmless, and true to the weights."""

import argparse
import base64
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.commands import attention
from experiments.common import cli
from experiments.config.cell import Cell
from experiments.config.study import load_study
from experiments.reporting.attention import (
    HEAD_COLOURS,
    MAX_TOKENS,
    SentenceAttention,
    sentence_attention,
    word_places,
)
from experiments.reporting.figures.attention import line_picture, line_picture_png
from experiments.reporting.page.attention import STEP, attention_page, page_of_split
from experiments.scoring.inference import load_models
from lit_transformer.attention_maps import attention_maps
from lit_transformer.errors import UserError
from tests.small_cell import SENTENCES

SVG = "{http://www.w3.org/2000/svg}"
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


pytestmark = pytest.mark.usefixtures("standing")


def looked(source: str, target: str, variant: str = "base") -> SentenceAttention:
    (network,), corpus = load_models([Cell(load_study("tiny"), variant, 3)])
    found = sentence_attention(
        network, corpus.tokenizer, corpus.tokenizer.encode(source), corpus.tokenizer.encode(target)
    )
    assert found is not None
    return found


def content(page: str) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_page_holds_every_weight() -> None:
    (network,), corpus = load_models([Cell(load_study("tiny"), "base", 3)])
    src, tgt = corpus.tokenizer.encode(SENTENCES[1]), corpus.tokenizer.encode("A DOG")
    (own,) = content(attention_page("title", [looked(SENTENCES[1], "A DOG")]))["sentences"]
    maps = attention_maps(network, src, tgt)
    for name in ("encoder", "decoder", "cross"):
        stack = own["stacks"][name]
        for layer, expected in zip(stack["layers"], getattr(maps, name), strict=True):
            for head, weights in zip(layer, expected, strict=True):
                found = np.frombuffer(base64.b64decode(head), "<i2").reshape(len(stack["rows"]), len(stack["columns"]))
                np.testing.assert_allclose(found * STEP, weights.numpy(), atol=STEP / 2 + 1e-7)
    assert own["stacks"]["cross"]["rows"][-1] == "</s>"
    assert own["stacks"]["decoder"]["columns"][0] == "<s>"
    assert own["text"] == SENTENCES[1]


def test_the_page_needs_no_network_and_no_text_ends_its_data() -> None:
    page = attention_page("<b>& title", [looked("</script><script>alert(1)</script><!-- &amp;", "<img src=x>")])
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)
    assert page.count("</script>") == 2
    assert "<b>& title" not in page
    assert content(page)["sentences"][0]["text"] == "</script><script>alert(1)</script><!-- &amp;"


def test_a_mixer_without_weights_is_named() -> None:
    own = looked("a dog", "A DOG", "read")
    assert own.weights["encoder"] == [None, None]
    stack = content(attention_page("title", [own]))["sentences"][0]["stacks"]["encoder"]
    assert (stack["layers"], stack["missing"]) == ([[], []], "lstm")


def test_long_sentences_and_none_at_all() -> None:
    (network,), corpus = load_models([Cell(load_study("tiny"), "base", 3)])
    assert sentence_attention(network, corpus.tokenizer, [5] * (MAX_TOKENS + 1), [5]) is None
    assert sentence_attention(network, corpus.tokenizer, [5], [5] * (MAX_TOKENS + 1)) is None
    assert f"no sentence of at most {MAX_TOKENS} tokens" in attention_page("title", [])
    page = page_of_split("title", network, corpus.tokenizer, SENTENCES, [corpus.tokenizer.encode("A")] * 4)
    assert [own["text"] for own in content(page)["sentences"]] == [SENTENCES[0], SENTENCES[1], SENTENCES[3]]


def lines_of(picture: str) -> Iterator[dict[str, str]]:
    return (line.attrib for line in ET.fromstring(picture).iter(f"{SVG}line"))


def test_a_picture_has_a_line_for_each_weight() -> None:
    own = looked("a dog", "THE CAT")
    weights = own.weights["cross"][1]
    assert weights is not None
    drawn = list(lines_of(line_picture(own, "cross", 1, [0, 2])))
    for head in (0, 2):
        opacities = [float(line["stroke-opacity"]) for line in drawn if line["stroke"] == HEAD_COLOURS[head]]
        expected = weights[head].flatten()
        np.testing.assert_allclose(opacities, expected[expected >= 0.01], atol=5.1e-4)
    assert {line["stroke"] for line in drawn} == {HEAD_COLOURS[0], HEAD_COLOURS[2]}


def test_a_picture_of_one_token_shows_its_row() -> None:
    own = looked("a dog", "THE CAT")
    weights = own.weights["encoder"][0]
    assert weights is not None
    picture = line_picture(own, "encoder", 0, [1], [2])
    opacities = [float(line["stroke-opacity"]) for line in lines_of(picture)]
    np.testing.assert_allclose(opacities, weights[1, 2][weights[1, 2] >= 0.01], atol=5.1e-4)
    assert len({line["x1"] for line in lines_of(picture)}) == 1
    bold = [text.text for text in ET.fromstring(picture).iter(f"{SVG}text") if text.get("font-weight") == "bold"]
    assert bold == [own.source[2].removeprefix("▁")]


@pytest.mark.parametrize("text", ["<&>\"'", "nul\x00 \x07", "\u0301", "שלום", "漢字 👩\u200d🔬", "a  b"])
def test_pictures_of_odd_text_are_xml_and_become_png(text: str) -> None:
    picture = line_picture(looked(text, text), "encoder", 0, [0])
    ET.fromstring(picture)
    assert line_picture_png(picture).startswith(b"\x89PNG")


def test_words_are_found_in_their_pieces() -> None:
    tokens = ["▁the", "▁do", "g", "▁d", "og", ".", "</s>"]
    assert word_places(tokens, "the") == [0]
    assert word_places(tokens, "dog") == [1, 2]
    assert word_places(tokens, "dog.") == [3, 4, 5]
    assert word_places(tokens, "</s>") == [6]
    assert word_places(tokens, "do") == [1]
    assert word_places(tokens, "cat") is None
    assert word_places(tokens, "dogs") is None


def look(**changes: object) -> None:
    plain = {
        "study": "tiny",
        "variant": "base",
        "seed": None,
        "overrides": [],
        "tuned": False,
        "line": "the old dog",
        "target": "A DOG",
    }
    own = {"out": "look", "layer": None, "heads": None, "token": None, "averaged": False}
    arguments = {**plain, **own, **changes}
    arguments["out"] = cli.user_path(str(arguments["out"]))
    attention.draw(argparse.Namespace(**arguments))


def test_the_command_writes_page_and_pictures(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look(out="whole", target=None)
    names = {path.name for path in (project / "whole").iterdir()}
    assert names == {
        "index.html",
        *(f"{stack}.{kind}" for stack in ("encoder", "decoder", "cross") for kind in ("svg", "png")),
    }
    assert "prefers-color-scheme:dark" in (project / "whole/cross.svg").read_text()
    look(out="word", target="A dog", token="old", layer=1, heads=[3, 1])
    assert {path.name for path in (project / "word").iterdir()} == {"index.html", "encoder.svg", "encoder.png"}
    assert "no picture: cross: 'old' is not among" in capsys.readouterr().err
    assert {line["stroke"] for line in lines_of((project / "word/encoder.svg").read_text())} <= {
        HEAD_COLOURS[0],
        HEAD_COLOURS[2],
    }
    look(out="lstm", variant="read")
    assert not (project / "lstm/encoder.svg").exists()
    assert "encoder has no attention weights (its mixer is lstm)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"line": "  "}, "--line is empty"),
        ({"line": "a\udcff"}, "--line is not UTF-8"),
        ({"line": "the dog " * 60}, "too many to draw"),
        ({"layer": 0}, "encoder has the layers 1 to 2, not 0"),
        ({"layer": 3}, "cross has the layers 1 to 2, not 3"),
        ({"heads": [4]}, "encoder has the heads 1 to 3"),
        ({"token": "zebra"}, "'zebra' is not among"),
        ({"out": "experiments/studies/tiny/study.yaml"}, "is a file"),
        ({"seed": 5}, "train the cell first"),
    ],
)
def test_mistakes(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        look(**changes)


@pytest.mark.parametrize(
    ("heads", "expected"), [("0", "heads are numbered from 1 on"), ("1,a", "no list of heads"), ("3-1", "has no heads")]
)
def test_heads_are_numbers_from_1_on(heads: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    cell = ["--study", "tiny", "--variant", "base", "--line", "the old dog", "--out", "look"]
    with pytest.raises(SystemExit, match="2"):
        attention.main([*cell, "--heads", heads])
    assert expected in capsys.readouterr().err


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser")
def test_a_browser_draws_it(tmp_path: Path) -> None:
    """The script runs: tokens and lines of the first view, and after a click those of one token."""
    torch.manual_seed(0)
    own = looked("a dog", "THE CAT")
    page = attention_page("title", [own])
    click = "<script>document.querySelectorAll('.token')[1].dispatchEvent(new Event('click'))</script></body>"
    for name, text in (("plain", page), ("clicked", page.replace("</body>", click))):
        (tmp_path / f"{name}.html").write_text(text)
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--dump-dom",
            f"--user-data-dir={tmp_path / 'u'}",
        ]
        dom = subprocess.run(
            [*command, f"file://{tmp_path}/{name}.html"], capture_output=True, text=True, timeout=120
        ).stdout
        tokens = re.findall(r'<g class="token', dom)
        assert len(tokens) == len(own.decoder_output) + len(own.source)
        rows = own.weights["cross"][1] if name == "plain" else own.weights["cross"][1][:, 1]
        assert dom.count("<line ") == int((rows >= 0.02).sum())
