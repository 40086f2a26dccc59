"""Selectional restrictions, which keep the sentences plausible, computed once per vocabulary."""

import math
from collections.abc import Iterable, Mapping
from functools import cached_property

from data_modules.corpora.grammar.modifiers import (
    ADJECTIVES,
    ARRIVALS,
    CIRCUMSTANCES,
    DIRECTIONS,
    INDOORS,
    LOCATIONS,
    UNSUITABLE,
    WATERS,
)
from data_modules.corpora.grammar.nouns import NOUNS
from data_modules.corpora.grammar.tree import Case
from data_modules.corpora.grammar.verbs import VERBS
from data_modules.corpora.grammar.words import Adjective, Noun, Verb

Places = list[tuple[str, str, Case, Noun]]

INANIMATE = frozenset({"text", "clothing", "thing", "vehicle", "opening"})
"""Kinds of nouns that "it" may refer to in a following clause."""
OBJECT_FRAMES = ("acc", "dat", "give")


def share_of(words: list, share: float) -> list:
    """Return the first words of a list, at least one."""
    return words[: max(1, math.ceil(share * len(words)))]


def selects(kinds: frozenset[str], noun: Noun) -> bool:
    """Whether a selection (kinds or single nouns) includes the noun."""
    return noun.kind in kinds or noun.english in kinds


class Lexicon:
    """The words in use and what each combines with; `share` keeps the most common of every class."""

    def __init__(self, share: float = 1.0) -> None:
        kinds = dict.fromkeys(noun.kind for noun in NOUNS.values())
        of_kind = {kind: [noun for noun in NOUNS.values() if noun.kind == kind] for kind in kinds}
        whole = ("time", "event")  # few, and used by the tables of adverbials
        used = (nouns if kind in whole else share_of(nouns, share) for kind, nouns in of_kind.items())
        self.nouns = [noun for nouns in used for noun in nouns]
        known = {noun.english for noun in self.nouns}
        self.adjectives = share_of(ADJECTIVES, share)
        frames = dict.fromkeys(verb.frame for verb in VERBS)
        verbs = [verb for frame in frames for verb in share_of([v for v in VERBS if v.frame == frame], share)]
        self.subjects = {verb.name: [n for n in self.nouns if selects(verb.subjects, n)] for verb in verbs}
        self.objects = {verb.name: [n for n in self.nouns if selects(verb.objects, n)] for verb in verbs}
        self.verbs = {frame: [v for v in verbs if v.frame == frame and self._usable(v)] for frame in frames}
        self.persons = [n for n in self.nouns if n.kind == "person"]
        self.fitting = {n.english: [a for a in self.adjectives if self._fits(a, n)] for n in self.nouns}
        self.describable = [n for n in self.nouns if n.kind not in ("event", "time") and self.fitting[n.english]]
        self.dwelling = [v for v in self.verbs["-"] if v.name in ("live", "sleep", "work", "stay", "wait")]
        self.governing = {n.english: self._governing(n) for n in self.nouns}
        self.doing = {n.english: self._doing(n) for n in self.nouns}
        self.places = self._all_places(known)
        self.circumstances = self._places({(e, g, "gen"): nouns for (e, g), nouns in CIRCUMSTANCES.items()}, known)

    def _all_places(self, known: set[str]) -> dict[str, Places]:
        """Return the places of every kind that a verb may select."""
        locations: dict[tuple[str, str, Case], Iterable[str]] = {
            (english, german, "dat"): nouns.split() for (english, german), nouns in LOCATIONS.items()
        }
        indoors = {key: [n for n in nouns if n in INDOORS] for key, nouns in locations.items() if key[0] == "in"}
        directions = TYPED_DIRECTIONS
        tables: dict[str, Mapping[tuple[str, str, Case], Iterable[str]]] = {
            "+": locations,
            "!": locations,
            "indoors": indoors,
            "arrival": {(english, german, "dat"): nouns.split() for (english, german), nouns in ARRIVALS.items()},
            "lake": {(english, german, "dat"): nouns.split() for (english, german), nouns in WATERS.items()},
            ">": directions,
            "origin": {key: directions[key] for key in directions if key[0] in ("to", "from", "out of")},
            "road": {key: [n for n in nouns if n not in ("garden", "park")] for key, nouns in directions.items()
                     if key[0] in ("to", "from", "through", "over")},
            "trail": {key: nouns for key, nouns in directions.items() if key[0] in ("through", "over", "around")},
        }  # fmt: skip
        return {kind: self._places(table, known) for kind, table in tables.items()}

    def _usable(self, verb: Verb) -> bool:
        subjects = verb.frame == "weather" or bool(self.subjects[verb.name])
        return subjects and (not verb.objects or bool(self.objects[verb.name]))

    @staticmethod
    def _fits(adjective: Adjective, noun: Noun) -> bool:
        return noun.kind in adjective.kinds and (adjective.english, noun.english) not in UNSUITABLE

    @staticmethod
    def _places(table: Mapping[tuple[str, str, Case], Iterable[str]], known: set[str]) -> Places:
        return [(*key, NOUNS[noun]) for key, nouns in table.items() for noun in nouns if noun in known]

    def _governing(self, noun: Noun) -> list[Verb]:
        """Return the verbs that can take the noun as a relativised object that cannot be read as the subject.

        German "die Frau, die das Kind sieht" is ambiguous; "der Mann, den das Kind sieht" does not.
        """
        verbs = [verb for frame in OBJECT_FRAMES for verb in self.verbs[frame] if selects(verb.objects, noun)]
        return [v for v in verbs if v.frame == "dat" or noun.gender == "m" or not selects(v.subjects, noun)]

    def _doing(self, noun: Noun) -> list[Verb]:
        return [v for frame in ("-", *OBJECT_FRAMES) for v in self.verbs[frame] if selects(v.subjects, noun)]

    @cached_property
    def combinations(self) -> list[tuple[str, str]]:
        """Every adjective with its nouns, and every verb with its objects."""
        adjectives = [(a.english, n.english) for n in self.describable for a in self.fitting[n.english]]
        verbs = [v for group in self.verbs.values() for v in group]
        return adjectives + [(v.name, n.english) for v in verbs for n in self.objects[v.name]]


DIRECTED = (">", "origin", "road", "trail")
"""Kinds of place that are directions: of any motion, of "come", "drive" and "hike"."""
TYPED_DIRECTIONS: dict[tuple[str, str, Case], list[str]] = {
    (english, german, "dat" if case == "dat" else "acc"): nouns.split()
    for (english, german, case), nouns in DIRECTIONS.items()
}
