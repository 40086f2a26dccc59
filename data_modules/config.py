"""Settings of the data; every default lives here and nowhere else."""

import re
from dataclasses import dataclass, field

from lit_transformer.errors import UserError


@dataclass(frozen=True)
class GrammarConfig:
    """The embedded English-German corpus: its size, sentence lengths and difficulty."""

    seed: int = 1
    """The same seed gives the same sentences on every platform."""
    train: int = 60_000
    """Training pairs."""
    valid: int = 500
    """Validation pairs."""
    test: int = 500
    """Test pairs, drawn like the training pairs."""
    test_long: int = 300
    """Test pairs whose sentences are all longer than any in training, on both sides."""
    test_comp: int = 300
    """Test pairs, each with a combination of two words held out from train, valid, test and test_long."""
    max_words: int = 18
    """Maximum words of a sentence in train, valid, test and test_comp, on either side."""
    max_words_long: int = 32
    """Maximum words of a sentence in test_long, on either side; the minimum is max_words + 2."""
    vocabulary: float = 0.4
    """Difficulty: the fraction of the lexicon in use, 0.15 to 1; fewer words make an easier corpus."""
    nesting: float = 0.15
    """Difficulty: the probability of a relative clause on a noun phrase that can take one, 0 to 1."""
    joining: float = 0.25
    """Difficulty: the probability that a sentence has two clauses (coordinate or subordinate), 0 to 1."""
    held_out: float = 0.06
    """The fraction of word combinations (adjective-noun, verb-object) held out for test_comp, 0 to 0.5."""

    def __post_init__(self) -> None:
        for name in ("train", "valid", "test", "test_long", "test_comp"):
            if getattr(self, name) < 0:
                raise UserError(f"data.grammar.{name} is {getattr(self, name)}; give 0 or a positive number of pairs")
        for name, low, high in (("vocabulary", 0.15, 1.0), ("nesting", 0, 1), ("joining", 0, 1), ("held_out", 0, 0.5)):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"data.grammar.{name} is {getattr(self, name)}; give a number from {low} to {high}")
        if not 8 <= self.max_words <= self.max_words_long - 8:
            raise UserError(
                f"data.grammar.max_words is {self.max_words}; "
                f"give 8 or more, and at most max_words_long - 8 = {self.max_words_long - 8}"
            )
        if self.max_words_long > 60:
            raise UserError(f"data.grammar.max_words_long is {self.max_words_long}; give at most 60")


@dataclass(frozen=True)
class DataConfig:
    """From corpus to batches: languages, vocabulary, lengths, tokens per batch. Defaults are the paper's."""

    source: str = "en"
    """Source language, as the corpus names it, such as "en" for train.en."""
    target: str = "de"
    """Target language."""
    vocab_size: int = 37_000
    """Size of the joint BPE vocabulary, special tokens included (Vaswani et al. 2017, section 5.1)."""
    max_length: int = 256
    """Maximum length of a training sentence on either side, in tokens with EOS; longer pairs are left out, and their
    number is reported. Validation and test pairs are never left out."""
    revision: str = ""
    """The commit, tag or branch of a data set of the Hugging Face hub; empty for its newest, which is recorded too."""
    batch_tokens: int = 25_000
    """Token budget of a batch on either side, padding included, over all ranks (section 5.1)."""
    grammar: GrammarConfig = field(default_factory=GrammarConfig)
    """Settings of the embedded corpus; ignored by other corpora."""

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", getattr(self, name)):
                raise UserError(f"data.{name} is '{getattr(self, name)}'; give a language code such as en")
        if self.source == self.target:
            raise UserError(f"data.source and data.target are both '{self.source}'; give two languages")
        for name in ("vocab_size", "max_length", "batch_tokens"):
            if getattr(self, name) < 2:
                raise UserError(f"data.{name} is {getattr(self, name)}; give a number of tokens, 2 or more")
