"""Parallel text files: what is read, what is refused, and that nothing disappears in silence."""

import gzip
from pathlib import Path

import pytest

from data_modules.config import DataConfig
from data_modules.corpora import corpus_from, load_corpus
from data_modules.corpora.files import load_files, read_lines
from lit_transformer.errors import UserError

CONFIG = DataConfig(source="de", target="en")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for split, count in (("train", 5), ("valid", 2), ("test", 3)):
        for language in ("de", "en"):
            (folder / f"{split}.{language}").write_text("".join(f"{split} {language} {i}\n" for i in range(count)))
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_files(folder, "de", "en")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_pair_of_files_is_a_split(folder: Path) -> None:
    for language in ("de", "en", "fr"):
        (folder / f"test2016.{language}.gz").write_bytes(gzip.compress(f"{language} 2016\n".encode()))
    (folder / "README.md").write_text("not parallel text")
    corpus = load_files(folder, "de", "en")
    assert (corpus.name, corpus.source, corpus.target) == ("tiny", "de", "en")
    assert list(corpus.splits) == ["train", "valid", "test", "test2016"]
    assert corpus.splits["test2016"].source == ["de 2016"]
    assert corpus.splits["train"].target == [f"train en {i}" for i in range(5)]
    assert corpus.notes == []


@pytest.mark.parametrize("alias", ["val", "dev", "validation"])
def test_names_for_validation(folder: Path, alias: str) -> None:
    for language in ("de", "en"):
        (folder / f"valid.{language}").rename(folder / f"{alias}.{language}")
    assert list(load_files(folder, "de", "en").splits) == ["train", "valid", "test"]


def test_direction_follows_the_languages(folder: Path) -> None:
    assert load_files(folder, "en", "de").splits["test"].source[0] == "test en 0"


@pytest.mark.parametrize(("first", "second"), [("train.de", "train.de.gz"), ("valid.de", "val.de")])
def test_two_files_for_the_same_lines_are_refused(folder: Path, first: str, second: str) -> None:
    data = (folder / first).read_bytes()
    (folder / second).write_bytes(gzip.compress(data) if second.endswith(".gz") else data)
    message = refusal(folder)
    assert str(folder / first) in message
    assert str(folder / second) in message


def test_misaligned_files_are_refused_with_both_counts(folder: Path) -> None:
    (folder / "test.en").write_text("only one\n")
    message = refusal(folder)
    assert f"{folder / 'test.de'} has 3 lines" in message
    assert f"{folder / 'test.en'} has 1" in message


@pytest.mark.parametrize("packed", [False, True])
def test_bad_utf8_names_file_and_line(folder: Path, packed: bool) -> None:
    data = b"gut\nauch gut\nschlecht: \xff\nzwei\nf\xc3\xbcnf\n"
    path = folder / ("train.de.gz" if packed else "train.de")
    (folder / "train.de").unlink()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert f"{path}:3 is not UTF-8 (byte 0xff)" in refusal(folder)


def test_a_broken_gzip_file_is_named(folder: Path) -> None:
    (folder / "train.de").unlink()
    (folder / "train.de.gz").write_bytes(gzip.compress(b"eins\nzwei\n")[:-9])
    assert f"{folder / 'train.de.gz'} is not a complete gzip file" in refusal(folder)


@pytest.mark.parametrize("side", ["de", "en"])
def test_an_empty_evaluation_line_is_refused(folder: Path, side: str) -> None:
    (folder / f"test.{side}").write_text("eins\n  \ndrei\n")
    assert f"{folder / f'test.{side}'}:2 is empty" in refusal(folder)


def test_an_empty_training_line_is_left_to_preparation(folder: Path) -> None:
    (folder / "train.de").write_text("0\n\n2\n3\n4\n")
    assert load_files(folder, "de", "en").splits["train"].source == ["0", "", "2", "3", "4"]


def test_an_empty_pair_of_files_is_refused(folder: Path) -> None:
    for language in ("de", "en"):
        (folder / f"test.{language}").write_text("")
    assert "are empty" in refusal(folder)


def test_changed_lines_are_counted(folder: Path) -> None:
    (folder / "train.de").write_text("\ufeffeins \n zwei\ndrei\u2028vier\r\nfünf  sechs\n6", encoding="utf-8")
    corpus = load_files(folder, "de", "en")
    assert corpus.splits["train"].source == ["eins", "zwei", "drei vier", "fünf  sechs", "6"]
    assert corpus.notes == [
        "train.de: leading or trailing spaces removed from 3 of 5 lines",
        "train.de: line breaks inside a sentence replaced by spaces in 1 of 5 lines",
    ]


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a\u2028b\x0cc\nd".encode())
    assert read_lines(path) == ["a\u2028b\x0cc", "d"]


def test_a_missing_side_is_an_error_or_a_note(folder: Path) -> None:
    (folder / "news.en").write_text("news\n")
    assert load_files(folder, "de", "en").notes == ["split 'news' left out: news.en has no counterpart in 'de'"]
    (folder / "train.de").unlink()
    assert "train.en has no counterpart in 'de'" in refusal(folder)


def test_training_and_validation_are_required(folder: Path) -> None:
    for language in ("de", "en"):
        (folder / f"valid.{language}").unlink()
    assert "has no split 'valid' in these two languages (found: train, test)" in refusal(folder)


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert f"cannot read {folder / 'train.de'}: Permission denied" in refusal(folder)


def test_corpora_are_found_by_variable_or_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIT_CORPORA", str(folder.parent))
    assert len(load_corpus("tiny", CONFIG).splits["train"]) == 5
    monkeypatch.delenv("LIT_CORPORA")
    assert len(load_corpus(str(folder), CONFIG).splits["train"]) == 5
    monkeypatch.chdir(folder.parent)
    assert load_corpus("./tiny", CONFIG).name == "tiny"


def test_a_path_of_the_command_line_is_from_where_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert corpus_from(tmp_path, "./mine") == str(tmp_path / "mine")
    assert corpus_from(tmp_path, "../texts/mine") == str(tmp_path / "../texts/mine")
    assert corpus_from(tmp_path, "~/mine") == str(Path.home() / "mine")
    assert corpus_from(tmp_path, "hub:./set") == f"hub:{tmp_path / 'set'}"
    for name in ("grammar", "multi30k", "hub:wmt14", "hub:some/set:de-en"):
        assert corpus_from(tmp_path, name) == name


@pytest.mark.parametrize(
    ("variable", "name", "words"),
    [
        (None, "multi30k", ["LIT_CORPORA is not set", "multi30k/", "hub:multi30k", "grammar"]),
        ("", "multi30k", ["LIT_CORPORA is not set"]),
        ("{}/absent", "multi30k", ["LIT_CORPORA={}/absent is not a folder", "hub:multi30k"]),
        ("{}", "tinny", ["{}/tinny", "LIT_CORPORA={}", "it has: tiny", "did you mean 'tiny'?", "hub:tinny"]),
        ("{}", "{}/other", ["there is no folder {}/other", "hub:other"]),
    ],
)
def test_a_corpus_that_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None, name: str, words: list[str]
) -> None:
    here = str(folder.parent)
    if variable is None:
        monkeypatch.delenv("LIT_CORPORA", raising=False)
    else:
        monkeypatch.setenv("LIT_CORPORA", variable.format(here))
    with pytest.raises(UserError) as caught:
        load_corpus(name.format(here), CONFIG)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word.format(here) in str(caught.value)
