"""Joint byte-pair encoding over both languages, by Hugging Face `tokenizers`.

Sennrich et al. 2016; Vaswani et al. 2017, section 5.1.

BPE is byte-level (Radford et al. 2019, section 2.2): decoding inverts encoding exactly for every text, including double
spaces and characters never seen in training; UNK is never produced, and a large corpus does not spend its vocabulary on
thousands of rare characters. The cost is 256 ids for single bytes. A space is prepended to every sentence, so that a
word has the same subwords in every position; decoding removes it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer as HFTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lit_transformer.errors import UserError
from lit_transformer.tokens import BOS, EOS, PAD, UNK

SPECIAL_TOKENS = ["<pad>", "<s>", "</s>", "<unk>"]
BYTE_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
MIN_VOCAB_SIZE = len(SPECIAL_TOKENS) + len(BYTE_ALPHABET)
LONGEST_WORD = 5_000
"""Characters that training reads as one word at most: it takes time with the square of a word's length."""
_LONG_WORD = re.compile(rf"\S{{{LONGEST_WORD}}}|\s{{{LONGEST_WORD}}}")
assert [SPECIAL_TOKENS.index(name) for name in ("<pad>", "<s>", "</s>", "<unk>")] == [PAD, BOS, EOS, UNK]


class Tokenizer:
    """Text to token ids and back; ids 0 to 3 are PAD, BOS, EOS and UNK, which `encode` never returns."""

    def __init__(self, backend: HFTokenizer) -> None:
        self._backend = backend
        # Without this a sentence that contains "<pad>" would be encoded as padding.
        backend.encode_special_tokens = True

    @property
    def vocab_size(self) -> int:
        return int(self._backend.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of one sentence, without BOS and EOS."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each sentence, without BOS and EOS, encoding in parallel."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; special tokens are skipped, invalid UTF-8 becomes U+FFFD."""
        return str(self._backend.decode([int(token) for token in ids], skip_special_tokens=True))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return each token as readable text, "▁" for a space; for display, not for decoding."""
        return [self._readable(int(token)) for token in ids]

    @cached_property
    def tokens(self) -> list[str]:
        """The vocabulary by id, in the byte-level alphabet."""
        vocabulary = self._backend.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def save(self, path: Path) -> None:
        """Write the tokenizer as a tokenizer.json that Hugging Face `tokenizers` and `transformers` read."""
        path.write_text(self._backend.to_str(pretty=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a tokenizer.json; raises UserError when it is missing, malformed, or its decoding does not invert it."""
        try:
            backend = HFTokenizer.from_str(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the tokenizer {path}: {error.strerror}; prepare the corpus again") from error
        except Exception as error:  # `tokenizers` raises bare Exception for a malformed file
            raise UserError(f"{path} is not a tokenizer file; prepare the corpus again") from error
        if not _is_byte_level(backend):
            raise UserError(f"{path} is not a tokenizer of this project, or was changed; prepare the corpus again")
        return cls(backend)

    def _readable(self, token: int) -> str:
        if token < len(SPECIAL_TOKENS):
            return SPECIAL_TOKENS[token]
        text = bytes(_BYTE_DECODER[character] for character in self.tokens[token])
        return text.decode("utf-8", errors="replace").replace(" ", "▁")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a joint BPE of exactly `vocab_size` ids on the sentences of both languages.

    Deterministic. Merges need at least two occurrences. A sentence with a word of over LONGEST_WORD characters, such as
    a picture in base64, is read in pieces of that length. Raises UserError when vocab_size is below 260 (special tokens
    and bytes) or above what the text yields.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise UserError(
            f"data.vocab_size is {vocab_size}; give {MIN_VOCAB_SIZE} or more: "
            f"{len(SPECIAL_TOKENS)} special tokens and 256 bytes"
        )
    backend = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=BYTE_ALPHABET,
        show_progress=False,
    )
    backend.train_from_iterator(_without_long_words(texts), trainer)
    reached = backend.get_vocab_size()
    if reached < vocab_size:
        raise UserError(
            f"data.vocab_size is {vocab_size}, but the training text yields only {reached}; "
            f"set data.vocab_size={reached} or less"
        )
    return Tokenizer(backend)


def _untrained() -> HFTokenizer:
    backend = HFTokenizer(models.BPE(unk_token=SPECIAL_TOKENS[UNK]))
    backend.normalizer = normalizers.Prepend(" ")
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1, right=0)])
    return backend


def _is_byte_level(backend: HFTokenizer) -> bool:
    """Return whether a tokenizer is ours but for its vocabulary and merges, and its vocabulary one of bytes.

    Then decoding inverts encoding: each id is of one token, and every byte is among them.
    """
    expected = _untrained()
    expected.add_special_tokens(SPECIAL_TOKENS)
    ours, found = (json.loads(each.to_str()) for each in (expected, backend))
    vocabulary: dict[str, int] = found["model"]["vocab"]
    for content in (ours, found):
        del content["model"]["vocab"], content["model"]["merges"]
    first, rest = list(vocabulary)[: len(SPECIAL_TOKENS)], list(vocabulary)[len(SPECIAL_TOKENS) :]
    return (
        ours == found
        and first == SPECIAL_TOKENS
        and set(BYTE_ALPHABET) <= set(rest)
        and set().union(*rest) <= set(BYTE_ALPHABET)
        and list(vocabulary.values()) == list(range(len(vocabulary)))
    )


def _without_long_words(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if len(text) > LONGEST_WORD and _LONG_WORD.search(text):
            yield from (text[start : start + LONGEST_WORD] for start in range(0, len(text), LONGEST_WORD))
        else:
            yield text


def _byte_decoder() -> dict[str, int]:
    """Return the byte of each character of the byte-level alphabet: printable bytes map to themselves, the others to
    U+0100 onwards, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + index): byte for index, byte in enumerate(others)}


_BYTE_DECODER = _byte_decoder()
assert sorted(_BYTE_DECODER) == BYTE_ALPHABET
