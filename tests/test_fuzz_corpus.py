"""Text of any bytes, and prepared corpora that are cut short: nothing is dropped or changed in silence."""

import gzip
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st

from data_modules.config import DataConfig
from data_modules.corpora.files import load_files
from data_modules.corpora.text import RawCorpus
from data_modules.prepared import PreparedCorpus, prepare
from data_modules.tokenizer import Tokenizer, train_tokenizer
from lit_transformer.errors import UserError
from tests.fuzzing import ODD_TEXT, edited, fuzzed, succeeded

CONFIG = DataConfig(source="he", target="en", vocab_size=262, max_length=60)
PLAIN = "".join(f"a dog and a dog {number}\n" for number in range(6)).encode()
WRITING = ("שלום עולם", "\u2028", "\x00", "\r\n", "\n\n", " \n", "\u200f", "𝕏", "é", "e\u0301")
BYTES = (b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x1f\x8b", b"x " * 600, b"y" * 2000)
PIECES = (*(piece.encode() for piece in (*ODD_TEXT, *WRITING)), *BYTES, PLAIN)

sentences = st.one_of(st.text(max_size=30), st.sampled_from(ODD_TEXT)).map(str.encode)
files = st.one_of(
    edited(PLAIN, PIECES),
    edited(PLAIN, PIECES),
    st.binary(max_size=60),
    st.lists(sentences, min_size=1, max_size=6).map(b"\n".join),
    st.integers(1, 3).map(lambda lines: PLAIN[: lines * 18]),
)


def _tidied(content: bytes) -> list[str] | None:
    """Return the lines of a file, the obvious way; None where it is not UTF-8."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = text.split("\n") if text else []
    lines = lines[:-1] if lines and not lines[-1] else lines
    return [" ".join(part for part in line.strip().splitlines() if part) for line in lines]


@fuzzed(
    20,
    1500,
    source=files,
    target=st.one_of(st.none(), files),
    split=st.sampled_from(("train", "valid", "test")),
    packed=st.booleans(),
)
def test_any_text(tmp_path: Path, source: bytes, target: bytes | None, split: str, packed: bool) -> None:
    folder, data = tmp_path / "text", tmp_path / "data"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)
    folder.mkdir()
    contents = {(name, language): PLAIN for name in ("train", "valid", "test") for language in ("he", "en")}
    contents |= {(split, "he"): source, (split, "en"): source if target is None else target}
    for (name, language), content in contents.items():
        path = folder / f"{name}.{language}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
    sides = {language: _tidied(contents[split, language]) for language in ("he", "en")}
    raw = succeeded(load_files, folder, "he", "en")
    if raw is None:
        assert (
            None in sides.values()
            or len(sides["he"]) != len(sides["en"])
            or "" in sides["he"] + sides["en"]
            or not sides["he"]
        )
        return
    assert (raw.splits[split].source, raw.splits[split].target) == (sides["he"], sides["en"])
    corpus = succeeded(prepare, raw, CONFIG, data)
    if corpus is not None:
        _holds_the_text(corpus, raw)


def _holds_the_text(corpus: PreparedCorpus, raw: RawCorpus) -> None:
    left_out = sum(corpus.left_out.values())
    for name, text in raw.splits.items():
        split = corpus.split(name)
        assert len(split) == len(text) - (left_out if name == "train" else 0)
        if len(split) == len(text):
            assert (split.source_text, split.target_text) == (text.source, text.target)
        for pair, source, target in zip(range(len(split)), split.source_text, split.target_text, strict=True):
            assert [corpus.tokenizer.decode(ids) for ids in split[pair]] == [source, target]
    assert corpus.content_hash() == corpus.hash


@pytest.mark.parametrize(
    "long",
    [
        pytest.param("x" * 1_000_000, id="one letter"),
        pytest.param("word " * 200_000 + "end", id="words", marks=pytest.mark.slow),
        pytest.param("שלום" * 125_000, id="Hebrew", marks=pytest.mark.slow),
        pytest.param("a" + " " * 1_000_000 + "b", id="spaces", marks=pytest.mark.slow),
    ],
)
def test_a_line_of_a_megabyte_is_left_out_of_training_and_refused_for_evaluation(tmp_path: Path, long: str) -> None:
    for name in ("train", "valid", "test"):
        for language in ("he", "en"):
            (tmp_path / f"{name}.{language}").write_bytes(PLAIN)
    with (tmp_path / "train.en").open("a") as english, (tmp_path / "train.he").open("a") as hebrew:
        english.write("a dog\n")
        hebrew.write(f"{long}\n")
    corpus = prepare(load_files(tmp_path, "he", "en"), CONFIG, tmp_path / "data")
    assert corpus.left_out == {"empty source or target": 0, "longer than 60 tokens (data.max_length)": 1}
    ids = corpus.tokenizer.encode(long)
    assert corpus.tokenizer.decode(ids) == long
    (tmp_path / "test.en").write_text(f"{long}\n")
    (tmp_path / "test.he").write_text("a dog\n")
    with pytest.raises(UserError, match=f"^an evaluation sentence has {len(ids) + 1} tokens, and at most 8192 are"):
        prepare(load_files(tmp_path, "he", "en"), CONFIG, tmp_path / "data")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["a dog and a dog", "שלום שלום", "der Hund und der Hund"] * 3, 280)


@fuzzed(
    50, 1000, text=st.one_of(st.text(), edited(PLAIN, PIECES).map(lambda content: content.decode(errors="replace")))
)
def test_any_sentence_survives_encoding(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(4 <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.encode_batch([text, "a dog"]) == [ids, tokenizer.encode("a dog")]
    assert len(tokenizer.pieces(ids)) == len(ids)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    text = tmp_path_factory.mktemp("text")
    for name in ("train", "valid", "test"):
        for language in ("he", "en"):
            (text / f"{name}.{language}").write_bytes(PLAIN)
    return prepare(load_files(text, "he", "en"), CONFIG, text.with_name("whole"))


@fuzzed(30, 500, place=st.integers(0, 4), length=st.integers(0, 10_000))
def test_a_prepared_corpus_that_is_cut_short_is_refused(
    prepared: PreparedCorpus, tmp_path: Path, place: int, length: int
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(prepared.folder, folder, dirs_exist_ok=True)
    path = sorted(folder.iterdir())[place]
    content = path.read_bytes()
    path.write_bytes(content[: length % len(content)])
    assert length % len(content) == len(content.rstrip()) or succeeded(_hash_of, folder) is None


def _hash_of(folder: Path) -> str:
    return PreparedCorpus.open(folder).content_hash()
