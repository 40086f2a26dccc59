"""The splits of the embedded corpus, the same for a seed on every platform.

A stable hash of the English sentence and its words decide its split, so that splits are disjoint by construction. Each
sentence has its own random seed, so that sentence 500 does not depend on sentences 0 to 499.
"""

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache

from data_modules.config import GrammarConfig
from data_modules.corpora.grammar.english import english
from data_modules.corpora.grammar.german import german
from data_modules.corpora.grammar.growth import Grower
from data_modules.corpora.grammar.lexicon import Lexicon
from data_modules.corpora.text import ParallelText, RawCorpus
from lit_transformer.errors import UserError

SPLITS = ("train", "valid", "test", "test_long", "test_comp")
LONGER_BY = 2
"""Words by which the shortest test_long sentence exceeds the longest training sentence."""
TRIES = 20_000
"""Draws per sentence before the settings are considered impossible."""


def stable_hash(text: str) -> int:
    """Return 64 bits of SHA-256: the same in every process, unlike hash()."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def split_of(sentence: str) -> str:
    """Return the split of a sentence of ordinary length: 14/16 train, 1/16 valid, 1/16 test."""
    return {0: "valid", 1: "test"}.get(stable_hash(sentence) % 16, "train")


class Generator:
    """Samples the sentence pairs of a corpus."""

    def __init__(self, config: GrammarConfig) -> None:
        self.config = config
        lexicon = Lexicon(config.vocabulary)
        self.grower = Grower(lexicon, config)
        limit = int(config.held_out * 2**64)
        self.held_out = frozenset(
            pair for pair in lexicon.combinations if stable_hash(f"{config.seed}/{pair[0]}/{pair[1]}") < limit
        )
        """Word pairs (adjective or verb, noun) that only test_comp may contain."""
        self.random = random.Random()

    def pairs(self, split: str, count: int) -> Iterator[tuple[str, str]]:
        """Yield `count` (English, German) pairs of a split; only training may repeat a sentence.

        Raises UserError when the settings allow too few distinct sentences.
        """
        seen: set[str] = set()
        for index in range(count):
            self.random.seed(stable_hash(f"{self.config.seed}/{split}/{index}"))
            for _ in range(TRIES):
                pair = self.draw(split)
                if pair and pair[0] not in seen:
                    break
            else:
                raise UserError(
                    f"data.grammar.{split}: cannot generate sentence {index}; ask for fewer pairs or allow more words"
                )
            if split != "train":
                seen.add(pair[0])
            yield pair

    def draw(self, split: str) -> tuple[str, str] | None:
        """Sample one sentence; return it in both languages, or None if it does not belong to the split."""
        roll = self.random.random
        links = 2 + int(roll() * 3) if split == "test_long" else None
        tree = self.grower.grow(roll, links)
        if self.held_out.isdisjoint(self.grower.combinations) == (split == "test_comp"):
            return None
        source = english(tree)
        if not self.fits(source, split) or (split in ("train", "valid", "test") and split_of(source) != split):
            return None
        target = german(tree)
        return (source, target) if self.fits(target, split) else None

    def fits(self, sentence: str, split: str) -> bool:
        """Whether the length of a sentence in words is allowed in the split."""
        words = sentence.count(" ") + 1
        if split == "test_long":
            return self.config.max_words + LONGER_BY <= words <= self.config.max_words_long
        return words <= self.config.max_words


@lru_cache(maxsize=2)
def english_german(config: GrammarConfig) -> dict[str, list[tuple[str, str]]]:
    """Return every split as (English, German) pairs, cached for the reverse direction."""
    generator = Generator(config)
    if config.test_comp and not generator.held_out:
        raise UserError("data.grammar.test_comp needs data.grammar.held_out above 0; raise that or set test_comp to 0")
    return {split: list(generator.pairs(split, getattr(config, split))) for split in SPLITS}


def generate(config: GrammarConfig, source: str, target: str) -> RawCorpus:
    """Return the embedded corpus from `source` to `target`, which are "en" and "de" in either order.

    Raises UserError for other languages and for impossible settings.
    """
    if {source, target} != {"en", "de"}:
        raise UserError(f"data.source={source} data.target={target}: the grammar corpus has en and de, in either order")
    drawn = english_german(config)
    splits = {}
    for name, pairs in drawn.items():
        sides = {"en": [pair[0] for pair in pairs], "de": [pair[1] for pair in pairs]}
        splits[name] = ParallelText(sides[source], sides[target])
    return RawCorpus("grammar", source, target, splits, notes(drawn["train"], config))


def notes(train: list[tuple[str, str]], config: GrammarConfig) -> list[str]:
    """Return the corpus's notes for the reader."""
    repeated = len(train) - len(set(train))
    least, most = config.max_words + LONGER_BY, config.max_words_long
    return [
        f"Generated from a grammar, seed {config.seed}: {len(train)} training pairs, {repeated} of them repetitions.",
        f"Training has at most {config.max_words} words, test_long {least} to {most}.",
        "test_comp: each sentence holds a pair of words (adjective-noun or verb-object) that training never combines.",
    ]
