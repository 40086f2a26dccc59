"""Parallel text as every corpus hands it over: plain sentences, before any tokenizer."""

from dataclasses import dataclass, field


@dataclass
class ParallelText:
    """Aligned sentences: `source[i]` translates to `target[i]`."""

    source: list[str]
    target: list[str]

    def __post_init__(self) -> None:
        assert len(self.source) == len(self.target), "both sides of a parallel text have as many sentences"

    def __len__(self) -> int:
        return len(self.source)


@dataclass
class RawCorpus:
    """A corpus of one language pair (`source` and `target` are language codes such as "en") with its named splits.

    `notes` are sentences for a reader about what was counted, dropped or changed on the way.
    """

    name: str
    source: str
    target: str
    splits: dict[str, ParallelText]
    notes: list[str] = field(default_factory=list)
