"""Random noun phrases and adverbials."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from data_modules.corpora.grammar import modifiers
from data_modules.corpora.grammar.lexicon import DIRECTED, Lexicon, Places
from data_modules.corpora.grammar.nouns import NOUNS, UNOWNED
from data_modules.corpora.grammar.tree import Adverbial, Case, Determiner, NounPhrase, Prepositional, Repeated
from data_modules.corpora.grammar.words import Noun

T = TypeVar("T")

THE: tuple[Determiner, ...] = ("the",)
A: tuple[Determiner, ...] = ("a",)
THIS: tuple[Determiner, ...] = ("this",)
MINE: tuple[Determiner, ...] = ("my", "our", "his", "her")
DETERMINERS: dict[str, tuple[Determiner, ...]] = {
    "subject": (*THE * 10, *A * 3, *THIS * 2, *MINE, "every", "no", "owned", ""),
    "object": (*THE * 7, *A * 5, *THIS * 2, *MINE, "every", "no", "owned", "", ""),
    "definite": (*THE * 7, *THIS * 2, *MINE, "owned"),
    "place": (*THE * 9, *A * 2, "this", "our", "owned"),
    "person": (*THE * 5, "a", "this", *MINE),
}
"""Determiners of each role, repeated by frequency; the empty one is for plurals and mass nouns."""
OWNERS: tuple[Determiner, ...] = (*THE * 3, "my", "our", "this", "a")
POSSESSIVE = (*MINE, "owned")
TIMES_OF = {
    tense: [adverb for adverb in modifiers.TIMES if code in adverb.tenses]
    for tense, code in (("present", "p"), ("past", "a"), ("future", "f"))
}
COMPANIONS: dict[str, list[tuple[str, str, Case]]] = {
    "w": [("with", "mit", "dat"), ("with", "mit", "dat"), ("without", "ohne", "acc")],
    "b": [("for", "für", "acc")],
}


class PhraseGrower:
    """Generates noun phrases and adverbials; `roll` is set per sentence, `combinations` collects its word pairs."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self.roll: Callable[[], float] = lambda: 0.0
        self.combinations: list[tuple[str, str]] = []

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.roll() * len(options))]

    def chance(self, probability: float) -> bool:
        return self.roll() < probability

    def noun_phrase(self, noun: Noun, role: str, adjectives: float = 0.4) -> NounPhrase:
        """Generate a noun phrase with this head noun; `adjectives` is the probability of at least one."""
        determiner = self.pick(DETERMINERS[role])
        if determiner in POSSESSIVE and noun.english in UNOWNED:
            determiner = "the"
        plural = False
        if noun.mass:
            determiner = determiner if determiner in ("the", "my", "our", "his", "her", "owned") else ""
        elif determiner not in ("a", "every"):
            plural = determiner == "" or self.chance(0.08 if role == "place" else 0.25)
        phrase = NounPhrase(noun, determiner, plural)
        if determiner == "owned":
            self.add_owner(phrase)
        if self.lexicon.fitting[noun.english] and self.chance(adjectives):
            self.add_adjectives(phrase)
        return phrase

    def add_owner(self, phrase: NounPhrase) -> None:
        """Add the owner, a person other than the noun itself."""
        owner = self.pick(self.lexicon.persons)
        if owner is phrase.noun:
            phrase.determiner = "the"
            return
        determiner = self.pick(OWNERS)
        if determiner in POSSESSIVE and owner.english in UNOWNED:
            determiner = "the"
        plural = determiner != "a" and self.chance(0.2)
        phrase.owner = NounPhrase(owner, determiner, plural)
        if self.lexicon.fitting[owner.english] and self.chance(0.15):
            self.add_adjectives(phrase.owner)

    def add_adjectives(self, phrase: NounPhrase) -> None:
        """Add one adjective, or two of different groups in their English order."""
        fitting = self.lexicon.fitting[phrase.noun.english]
        first = self.pick(fitting)
        phrase.adjectives = (first,)
        if self.chance(0.18):
            second = self.pick(fitting)
            if second.group != first.group and not (first.passing or second.passing):
                phrase.adjectives = (first, second) if first.group < second.group else (second, first)
        self.combinations += [(adjective.english, phrase.noun.english) for adjective in phrase.adjectives]

    def place(self, kind: str) -> Adverbial | None:
        """Generate a location or (kind ">") a direction; None if the vocabulary has none."""
        options: Places = self.lexicon.places[kind]
        if kind in ("+", "!") and self.chance(0.2):
            return self.pick(modifiers.PLACES)
        if kind in DIRECTED and self.chance(0.1):
            return modifiers.HOME
        if not options:
            return None
        english, german, case, noun = self.pick(options)
        return Prepositional(english, german, case, self.noun_phrase(noun, "place", adjectives=0.2))

    def time(self, tense: str) -> Adverbial:
        """Generate a time, or a circumstance in the genitive, that fits the tense."""
        roll = self.roll()
        if roll < 0.4:
            return self.pick(TIMES_OF[tense])
        if roll < 0.75:
            english, noun, german = self.pick(modifiers.TIME_PHRASES)
            return Prepositional(english, german, "dat", NounPhrase(NOUNS[noun]), bare_english=True)
        if roll < 0.87 and tense != "future":
            return Repeated(NOUNS[self.pick(modifiers.REPEATED)])
        english, german, case, noun_ = self.pick(self.lexicon.circumstances)
        return Prepositional(english, german, case, NounPhrase(noun_))

    def companion(self, manners: str) -> Prepositional | None:
        """Generate a companion ("with", "without") or beneficiary ("for") if the verb takes one."""
        options = [word for letter, words in COMPANIONS.items() if letter in manners for word in words]
        if not options:
            return None
        english, german, case = self.pick(options)
        return Prepositional(english, german, case, self.noun_phrase(self.pick(self.lexicon.persons), "person", 0.2))
