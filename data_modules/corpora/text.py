"""What every corpus does with the lines it was given: one sentence a line, nothing dropped in silence."""

import re

from data_modules.corpora.raw import ParallelText
from lit_transformer.errors import UserError

TRAIN, VALID = "train", "valid"
ALIASES = {"val": VALID, "validation": VALID, "dev": VALID}

# What str.splitlines takes for the end of a line, besides "\n": inside a sentence it would tear the files we write.
_BREAKS = re.compile(r"[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]+")


def tidy(lines: list[str], place: str, notes: list[str]) -> list[str]:
    """Return the lines without blanks at their ends and without line breaks inside; `notes` learns how many changed."""
    place = place.rpartition("/")[2]  # notes are kept with the results, where this machine's folders mean nothing
    bare = [line.strip() for line in lines]
    changed = sum(map(str.__ne__, bare, lines))
    if changed:
        notes.append(f"{place}: blanks at an end removed from {changed:,} of {len(lines):,} lines")
    torn = [number for number, line in enumerate(bare) if _BREAKS.search(line)]
    for number in torn:
        bare[number] = _BREAKS.sub(" ", bare[number])
    if torn:
        notes.append(
            f"{place}: line breaks inside a sentence turned into blanks in {len(torn):,} of {len(lines):,} lines"
        )
    return bare


def align(split: str, source: list[str], target: list[str], places: tuple[str, str], notes: list[str]) -> ParallelText:
    """Return the tidied pairs of a split; `places` names where each side comes from.

    Raises UserError when the sides differ in length, or when an evaluation split holds an empty line: its pairs are
    never left out, and an empty sentence cannot be scored. Empty training lines are left to preparation, which counts
    them.
    """
    if len(source) != len(target):
        raise UserError(
            f"{places[0]} has {len(source):,} lines but {places[1]} has {len(target):,}; "
            "line i of one must translate line i of the other"
        )
    if not source:
        raise UserError(f"{places[0]} and {places[1]} are empty; give at least one pair")
    sides = tidy(source, places[0], notes), tidy(target, places[1], notes)
    if split != TRAIN:
        for lines, place in zip(sides, places, strict=True):
            if "" in lines:
                raise UserError(
                    f"{place}:{lines.index('') + 1} is empty; the split '{split}' is for evaluation, "
                    "where every pair counts: fill the line, or remove it on both sides"
                )
    return ParallelText(*sides)


def require_train_and_valid(found: list[str], place: str) -> None:
    """Raise UserError unless both the training and the validation split are among those found."""
    for split in (TRAIN, VALID):
        if split not in found:
            names = ", ".join(found) or "none"
            raise UserError(f"{place} has no split '{split}' in these two languages (found: {names})")
