"""Joint byte-pair encoding over both languages, by Hugging Face `tokenizers`.

Sennrich et al. 2016; Vaswani et al. 2017, section 5.1.

Bytes are the alphabet (Radford et al. 2019, section 2.2) rather than characters with a space mark: every text survives
encoding and decoding exactly, double blanks and characters never seen in training included, so UNK is never produced,
and a large corpus does not spend its vocabulary on thousands of rare characters. The price is 256 ids for single bytes.
Every sentence gets one blank in front, so that a word has the same pieces wherever it stands; decoding removes it.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lit_transformer.batch import BOS, EOS, PAD, UNK
from lit_transformer.errors import UserError

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SMALLEST = len(SPECIALS) + len(BYTES)
assert [SPECIALS.index(name) for name in ("<pad>", "<s>", "</s>", "<unk>")] == [PAD, BOS, EOS, UNK]


class Tokenizer:
    """Text to token ids and back; ids 0 to 3 are PAD, BOS, EOS and UNK, and no text is ever encoded to them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Without this a sentence that happens to hold "<pad>" would be encoded as padding.
        engine.encode_special_tokens = True

    @property
    def vocab_size(self) -> int:
        return int(self._engine.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of one sentence, without BOS and EOS."""
        return list(self._engine.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each sentence, without BOS and EOS; several sentences at once are encoded in parallel."""
        return [encoding.ids for encoding in self._engine.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; special ids are left out, bytes that form no character become U+FFFD."""
        return str(self._engine.decode([int(token) for token in ids], skip_special_tokens=True))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return each token as a reader sees it, "▁" for a blank; for pictures, not for decoding."""
        return [self._readable(int(token)) for token in ids]

    @cached_property
    def tokens(self) -> list[str]:
        """Return the vocabulary in the order of its ids, in the byte alphabet."""
        vocabulary = self._engine.get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def save(self, path: Path) -> None:
        """Write the tokenizer as a tokenizer.json that Hugging Face `tokenizers` and `transformers` read."""
        path.write_text(self._engine.to_str(pretty=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a tokenizer.json; raises UserError when it is missing or is not one."""
        try:
            return cls(Engine.from_str(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(f"cannot read the tokenizer {path}: {error.strerror}; prepare the corpus again") from error
        except Exception as error:  # `tokenizers` raises bare Exception for a malformed file
            raise UserError(f"{path} is not a tokenizer file; prepare the corpus again") from error

    def _readable(self, token: int) -> str:
        if token < len(SPECIALS):
            return SPECIALS[token]
        values = bytes(_BYTE_OF[character] for character in self.tokens[token])
        return values.decode("utf-8", errors="replace").replace(" ", "▁")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a joint byte-pair encoding of exactly `vocab_size` ids from the sentences of both languages.

    The same sentences give the same tokenizer. A merge must be seen twice: what occurs once cannot be learnt from.
    Raises UserError when vocab_size is below 260 (the special ids and the bytes) or above what the text yields.
    """
    if vocab_size < SMALLEST:
        raise UserError(
            f"data.vocab_size is {vocab_size}; give {SMALLEST} or more ({len(SPECIALS)} special, 256 bytes)"
        )
    engine = Engine(models.BPE(unk_token=SPECIALS[UNK]))
    engine.normalizer = normalizers.Prepend(" ")
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", left=1, right=0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=SPECIALS, initial_alphabet=BYTES, show_progress=False
    )
    engine.train_from_iterator(texts, trainer)
    reached = engine.get_vocab_size()
    if reached < vocab_size:
        raise UserError(
            f"data.vocab_size is {vocab_size}, but the training text yields only {reached} pieces; "
            f"set data.vocab_size={reached} or less"
        )
    return Tokenizer(engine)


def _byte_alphabet() -> dict[str, int]:
    """Return the byte behind each character of the byte alphabet: printable bytes stand for themselves, the others
    follow from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
assert sorted(_BYTE_OF) == BYTES
