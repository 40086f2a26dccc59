"""Parallel text: aligned plain sentences, one per line, as every corpus returns it; nothing is dropped silently."""

import re
from dataclasses import dataclass, field

from lit_transformer.errors import UserError

TRAIN, VALID = "train", "valid"
ALIASES = {"val": VALID, "validation": VALID, "dev": VALID}

# What str.splitlines takes for the end of a line, besides "\n": within a sentence it would break the files we write.
_LINE_BREAKS = re.compile(r"[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]+")


@dataclass
class ParallelText:
    """Sentence pairs: `source[i]` translates to `target[i]`."""

    source: list[str]
    target: list[str]

    def __post_init__(self) -> None:
        assert len(self.source) == len(self.target), "source and target must have the same number of sentences"

    def __len__(self) -> int:
        return len(self.source)


@dataclass
class RawCorpus:
    """A corpus of one language pair (`source` and `target` are language codes such as "en") with its named splits.

    `notes` are sentences for the reader about what was counted, left out or changed while loading; `revision` is the
    commit of a data set of the Hugging Face hub, where it is known.
    """

    name: str
    source: str
    target: str
    splits: dict[str, ParallelText]
    notes: list[str] = field(default_factory=list)
    revision: str = ""


def tidy(lines: list[str], location: str, notes: list[str]) -> list[str]:
    """Return the lines stripped and without line breaks inside; how many changed is appended to `notes`."""
    location = location.rpartition("/")[2]  # notes are kept with the results: no absolute paths of this machine
    tidied = [line.strip() for line in lines]
    changed = sum(map(str.__ne__, tidied, lines))
    if changed:
        notes.append(f"{location}: leading or trailing spaces removed from {changed:,} of {len(lines):,} lines")
    broken = [number for number, line in enumerate(tidied) if _LINE_BREAKS.search(line)]
    for number in broken:
        tidied[number] = _LINE_BREAKS.sub(" ", tidied[number])
    if broken:
        notes.append(
            f"{location}: line breaks inside a sentence replaced by spaces in {len(broken):,} of {len(lines):,} lines"
        )
    return tidied


def align(
    split: str, source: list[str], target: list[str], locations: tuple[str, str], notes: list[str]
) -> ParallelText:
    """Return the tidied sentence pairs of a split; `locations` name the files or columns of source and target.

    Raises UserError when the two sides differ in length, or when an evaluation split has an empty line: its pairs are
    never left out, and an empty sentence cannot be scored. Empty training lines are left out by `prepare`, which
    counts them.
    """
    if len(source) != len(target):
        raise UserError(
            f"{locations[0]} has {len(source):,} lines but {locations[1]} has {len(target):,}; "
            "line i of one must translate line i of the other"
        )
    if not source:
        raise UserError(f"{locations[0]} and {locations[1]} are empty; give at least one pair")
    sides = tidy(source, locations[0], notes), tidy(target, locations[1], notes)
    if split != TRAIN:
        for lines, location in zip(sides, locations, strict=True):
            if "" in lines:
                raise UserError(
                    f"{location}:{lines.index('') + 1} is empty; the split '{split}' is for evaluation, "
                    "where every pair counts: fill the line, or remove it on both sides"
                )
    return ParallelText(*sides)


def require_train_and_valid(splits: list[str], location: str) -> None:
    """Raise UserError unless `splits` has both a training and a validation split."""
    for split in (TRAIN, VALID):
        if split not in splits:
            names = ", ".join(splits) or "none"
            raise UserError(f"{location} has no split '{split}' in these two languages (found: {names})")
