"""Text survives the tokenizer, whatever it is; training is a function of the text."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_modules.tokenizer import MIN_VOCAB_SIZE, Tokenizer, _without_long_words, train_tokenizer
from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS, PAD, UNK


def sentences() -> list[str]:
    words = random.Random(3)
    stems = ["Haus", "Häuser", "schön", "the", "house", "walked", "walking", "größer", "don't", "Straße"]
    return [" ".join(words.choice(stems) for _ in range(6)) + "." for _ in range(200)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(sentences(), 300)


@given(text=st.text())
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not {PAD, BOS, EOS, UNK} & set(ids)


@pytest.mark.parametrize(
    "text", ["Häuser  mit zwei Blanks ", " the", "", "漢字 ▁ 🙂", "<pad> </s> <s> <unk>", "a\tb", "Ġ Ċ", "e\u0301"]
)
def test_awkward_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_ids_are_fixed_and_left_out_of_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.tokens[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    ids = tokenizer.encode("the house")
    assert tokenizer.decode([BOS, *ids, EOS, PAD, PAD]) == "the house"
    assert max(ids) < tokenizer.vocab_size == len(tokenizer.tokens) == 300


def test_words_have_the_same_pieces_wherever_they_stand(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("house house")[: len(tokenizer.encode("house"))] == tokenizer.encode("house")
    assert tokenizer.encode("house house") == tokenizer.encode("house") * 2


def test_batch_equals_single(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch(sentences()) == [tokenizer.encode(text) for text in sentences()]


def test_pieces_are_readable(tokenizer: Tokenizer) -> None:
    pieces = tokenizer.pieces([BOS, *tokenizer.encode("größer Haus")])
    assert pieces[0] == "<s>"
    assert "".join(pieces[1:]) == "▁größer▁Haus"


def test_training_is_deterministic(tmp_path: Path) -> None:
    texts = []
    for name in ("one", "other"):
        train_tokenizer(iter(sentences()), 290).save(tmp_path / name)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_saved_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    for text in ["schöne <pad> Häuser", *sentences()]:
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == text


def test_a_vocabulary_larger_than_the_text_is_refused() -> None:
    with pytest.raises(UserError, match=r"vocab_size is 5000.*yields only (\d+); set data.vocab_size=\1") as caught:
        train_tokenizer(sentences(), 5000)
    reached = int(str(caught.value).rsplit("=", 1)[1].split()[0])
    assert train_tokenizer(sentences(), reached).vocab_size == reached


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match=f"vocab_size is {MIN_VOCAB_SIZE - 1}; give {MIN_VOCAB_SIZE} or more"):
        train_tokenizer(sentences(), MIN_VOCAB_SIZE - 1)


def test_a_long_word_is_learned_in_pieces_and_other_text_as_it_is() -> None:
    """Training takes time with the square of a word's length: a million letters in one would take an hour."""
    assert list(_without_long_words(["a " * 5000, "b" * 4999, ""])) == ["a " * 5000, "b" * 4999, ""]
    pieces = list(_without_long_words(["c " + "d" * 12_000]))
    assert "".join(pieces) == "c " + "d" * 12_000
    assert [len(piece) for piece in pieces] == [5000, 5000, 2002]
    word = "de" * 500_000
    tokenizer = train_tokenizer([*sentences(), word], 300)
    assert tokenizer.decode(tokenizer.encode(word)) == word


def test_files_that_are_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="is not a tokenizer file"):
        Tokenizer.load(tmp_path / "bad.json")
    with pytest.raises(UserError, match="cannot read the tokenizer"):
        Tokenizer.load(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ('"start": 1', '"start": 0'),  # a sentence would keep the space before it
        ('"h": 75', '"h": 74'),  # two tokens of one id, and one id without a token
        ('"h": 75', '"€": 75'),  # a byte that is missing
        ('"<pad>": 0', '"<bad>": 0'),
        ('"prepend": " "', '"prepend": "_"'),
    ],
)
def test_a_tokenizer_that_was_changed_is_refused(tokenizer: Tokenizer, tmp_path: Path, was: str, now: str) -> None:
    """Each of these is a tokenizer for the library, and decodes to another text than was encoded."""
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    text = path.read_text()
    assert text.count(was) == 1
    path.write_text(text.replace(was, now))
    with pytest.raises(UserError, match="is not a tokenizer"):
        Tokenizer.load(path)
