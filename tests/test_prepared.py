"""A prepared corpus: what lies on disk is the text, what is left out is counted, half-written ones do not exist."""

import errno
import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_modules import prepared
from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import PreparedCorpus, prepare
from lit_transformer.errors import UserError

CONFIG = DataConfig(source="de", target="en", vocab_size=280, max_length=40)


def raw_corpus(train: int = 60) -> RawCorpus:
    dice = random.Random(1)

    def text(count: int) -> ParallelText:
        numbers = [[dice.randrange(5) for _ in range(dice.randrange(1, 8))] for _ in range(count)]
        german, english = ["null", "eins", "zwei", "drei", "fünf"], ["zero", "one", "two", "three", "five"]
        return ParallelText(
            [" ".join(german[n] for n in s) for s in numbers], [" ".join(english[n] for n in s) for s in numbers]
        )

    return RawCorpus("numbers", "de", "en", {"train": text(train), "valid": text(7), "test": text(9)}, ["a note"])


@pytest.fixture
def corpus(tmp_path: Path) -> PreparedCorpus:
    return prepare(raw_corpus(), CONFIG, tmp_path / "prepared")


def test_ids_are_those_of_the_text(corpus: PreparedCorpus) -> None:
    raw = raw_corpus()
    assert corpus.splits == ["train", "valid", "test"]
    for name in corpus.splits:
        split = corpus.split(name)
        assert split.source_text == raw.splits[name].source
        assert split.target_text == raw.splits[name].target
        assert len(split) == len(raw.splits[name])
        for pair in range(len(split)):
            source, target = split[pair]
            assert corpus.tokenizer.decode(source) == raw.splits[name].source[pair]
            assert target.tolist() == corpus.tokenizer.encode(raw.splits[name].target[pair])
            assert (len(source) + 1, len(target) + 1) == (split.source_lengths[pair], split.target_lengths[pair])


def test_files_are_those_promised(corpus: PreparedCorpus) -> None:
    names = {path.name for path in corpus.folder.iterdir()}
    assert names == {"tokenizer.json", "corpus.json", "train.arrow", "valid.arrow", "test.arrow"}
    facts = json.loads((corpus.folder / "corpus.json").read_text())
    assert (facts["name"], facts["source"], facts["target"], facts["vocab_size"]) == ("numbers", "de", "en", 280)
    assert facts["splits"]["valid"]["pairs"] == 7
    assert facts["splits"]["valid"]["source_tokens"] == corpus.split("valid").source_lengths.sum()
    assert facts["notes"] == ["a note"]
    assert corpus.split("train")[0][0].dtype == np.uint16


def test_large_vocabularies_take_wider_ids() -> None:
    assert prepared._record_batch([([70_000], [5], "a", "b")], 70_001).column(0).values.to_pylist() == [70_000]


def test_several_chunks_are_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: PreparedCorpus) -> None:
    monkeypatch.setattr(prepared, "ROWS", 8)
    chunked = prepare(raw_corpus(), CONFIG, tmp_path / "chunked")
    one, other = chunked.split("train"), corpus.split("train")
    assert len(one._source.values) == 8
    assert np.array_equal(one.source_lengths, other.source_lengths)
    monkeypatch.undo()
    expected = [(source.tolist(), target.tolist()) for source, target in (other[pair] for pair in range(len(other)))]
    monkeypatch.setattr(prepared, "ROWS", 8)
    assert [
        (source.tolist(), target.tolist()) for source, target in (one[pair] for pair in range(len(one)))
    ] == expected
    assert one.target_text == other.target_text


def test_ids_are_views_into_the_file(corpus: PreparedCorpus) -> None:
    source, _ = corpus.split("train")[3]
    assert not source.flags.owndata
    assert not source.flags.writeable


def test_a_split_travels_to_another_process_as_its_path(corpus: PreparedCorpus) -> None:
    split = corpus.split("train")
    packed = pickle.dumps(split)
    assert len(packed) < 1000
    assert pickle.loads(packed)[5][0].tolist() == split[5][0].tolist()


def test_the_hash_is_the_content(corpus: PreparedCorpus, tmp_path: Path) -> None:
    assert corpus.hash == corpus.content_hash() == prepare(raw_corpus(), CONFIG, tmp_path / "again").hash
    changed = raw_corpus()
    changed.splits["test"].target[4] += "!"
    others = [prepare(changed, CONFIG, tmp_path / "text").hash]
    others.append(prepare(raw_corpus(), DataConfig("de", "en", 275), tmp_path / "vocabulary").hash)
    swapped = RawCorpus("numbers", "de", "en", {**raw_corpus().splits, "valid": raw_corpus().splits["test"]})
    others.append(prepare(swapped, CONFIG, tmp_path / "split").hash)
    assert len({corpus.hash, *others}) == 4


def test_the_hash_tells_of_a_changed_file(corpus: PreparedCorpus, tmp_path: Path) -> None:
    other = raw_corpus()
    other.splits["train"].source[0] = "zwei"
    prepare(other, CONFIG, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "train.arrow", corpus.folder / "train.arrow")
    assert PreparedCorpus.open(corpus.folder).content_hash() != corpus.hash


def test_training_pairs_left_out_are_counted(tmp_path: Path) -> None:
    raw = raw_corpus()
    train, test = raw.splits["train"], raw.splits["test"]
    train.source[3], train.target[8], train.source[20] = "", "", "drei " * 50
    test.source[1] = "drei " * 50 + "zwei"
    corpus = prepare(raw, CONFIG, tmp_path / "prepared")
    assert corpus.left_out == {"empty source or target": 2, "longer than 40 tokens (data.max_length)": 1}
    assert len(corpus.split("train")) == 57
    kept = [pair for place, pair in enumerate(zip(train.source, train.target, strict=True)) if place not in (3, 8, 20)]
    assert list(zip(corpus.split("train").source_text, corpus.split("train").target_text, strict=True)) == kept
    assert corpus.split("test").source_text == test.source  # evaluation keeps every pair
    report = "\n".join(corpus.report())
    assert "train: 2 pairs left out: empty source or target" in report
    assert "train: 1 pairs left out: longer than 40 tokens" in report
    assert "a note" in report


def test_repeats_and_test_pairs_in_train_are_counted_and_printed(tmp_path: Path) -> None:
    raw = raw_corpus()
    train, test = raw.splits["train"], raw.splits["test"]
    for place in (0, 1, 2):
        test.source[place], test.target[place] = train.source[10], train.target[10]
    test.source[3], test.target[3] = train.source[11], "another translation"
    corpus = prepare(raw, CONFIG, tmp_path / "leaky")
    pairs = {name: list(zip(text.source, text.target, strict=True)) for name, text in raw.splits.items()}
    for name, own in pairs.items():
        expected = {"repeated": len(own) - len(set(own))}
        if name != "train":
            expected["in_train"] = sum(pair in pairs["train"] for pair in own)
        assert corpus.repeats(name) == expected
    assert corpus.repeats("test")["in_train"] in range(3, 9)
    (line,) = (line for line in corpus.report() if line.startswith("  test: "))
    assert line.endswith(
        f", {corpus.repeats('test')['repeated']} repeat another, {corpus.repeats('test')['in_train']} are in train too"
    )


def test_max_length_counts_eos(tmp_path: Path) -> None:
    longest = int(max(prepare(raw_corpus(), CONFIG, tmp_path / "all").split("train").source_lengths))
    exact, below = (DataConfig("de", "en", 280, max_length=most) for most in (longest, longest - 1))
    assert sum(prepare(raw_corpus(), exact, tmp_path / "exact").left_out.values()) == 0
    assert sum(prepare(raw_corpus(), below, tmp_path / "below").left_out.values()) > 0


def test_an_empty_split_is_a_note(tmp_path: Path) -> None:
    raw = raw_corpus()
    raw.splits["test_comp"] = ParallelText([], [])
    corpus = prepare(raw, CONFIG, tmp_path / "prepared")
    assert "test_comp" not in corpus.splits
    assert "split 'test_comp' left out: it is empty" in corpus.notes


def broken(**changes: Any) -> RawCorpus:
    raw = raw_corpus()
    for name, text in changes.items():
        raw.splits[name] = text
    return raw


@pytest.mark.parametrize(
    ("raw", "config", "words"),
    [
        (broken(test=ParallelText(["a", ""], ["b", "c"])), CONFIG, "'test' has an empty sentence"),
        (broken(train=ParallelText(["", ""], ["b", "c"])), CONFIG, "no training pair with text"),
        (broken(**{"a/b": ParallelText(["a"], ["b"])}), CONFIG, "'a/b' is not a valid split name"),
        (broken(), DataConfig("de", "en", 9000), "vocab_size is 9000, but the training text yields only"),
        (
            broken(train=ParallelText(["eins zwei"] * 5, ["one two"] * 5)),
            DataConfig("de", "en", 262, max_length=3),
            "no training pair has at most data.max_length = 3",
        ),
    ],
)
def test_what_cannot_be_prepared(tmp_path: Path, raw: RawCorpus, config: DataConfig, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        prepare(raw, config, tmp_path / "prepared")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_corpus(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepared, "_write_split", full)
    with pytest.raises(UserError, match=r"cannot write .*prepared: No space left on device"):
        prepare(raw_corpus(30), CONFIG, corpus.folder)
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]
    assert PreparedCorpus.open(corpus.folder).content_hash() == corpus.hash


def test_preparing_again_replaces(corpus: PreparedCorpus) -> None:
    again = prepare(raw_corpus(30), CONFIG, corpus.folder)
    assert (len(again.split("train")), again.hash != corpus.hash) == (30, True)


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(UserError, match="thesis exists and is not a prepared corpus"):
        prepare(raw_corpus(), CONFIG, tmp_path / "thesis")
    with pytest.raises(UserError, match="cannot write"):
        prepare(raw_corpus(), CONFIG, tmp_path / "thesis" / "chapter1.tex" / "inside")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"


def test_what_cannot_be_opened(corpus: PreparedCorpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no prepared corpus; run: python -m experiments prepare"):
        PreparedCorpus.open(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no split 'tests' \(it has train, valid, test\); did you mean 'test'"):
        corpus.split("tests")
    shutil.copy(corpus.folder / "valid.arrow", corpus.folder / "test.arrow")
    with pytest.raises(UserError, match=r"test.arrow does not hold 9 pairs"):
        PreparedCorpus.open(corpus.folder)
    (corpus.folder / "test.arrow").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"test.arrow is missing or damaged"):
        PreparedCorpus.open(corpus.folder)
    facts = json.loads((corpus.folder / "corpus.json").read_text())
    (corpus.folder / "corpus.json").write_text(json.dumps({**facts, "format": 0}))
    with pytest.raises(UserError, match="another version"):
        PreparedCorpus.open(corpus.folder)
    (corpus.folder / "corpus.json").write_text(json.dumps([facts]))
    with pytest.raises(UserError, match="another version"):
        PreparedCorpus.open(corpus.folder)
    del facts["hash"]
    (corpus.folder / "corpus.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"corpus\.json lacks 'hash'; prepare the corpus again"):
        PreparedCorpus.open(corpus.folder)
    (corpus.folder / "corpus.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        PreparedCorpus.open(corpus.folder)


def test_only_big_corpora_report_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(raw_corpus(), CONFIG, tmp_path / "small")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(prepared, "PROGRESS_FROM", 10)
    prepare(raw_corpus(), CONFIG, tmp_path / "big")
    assert capsys.readouterr().err.splitlines()[-1] == "encoded 76 of 76 pairs"
