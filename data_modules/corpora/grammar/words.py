"""Word classes, and the regular inflection rules."""

from dataclasses import dataclass

VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun in both languages; `kind` is its semantic class, which verbs and adjectives select."""

    english: str
    english_plural: str
    german: str
    german_plural: str
    genitive: str
    gender: str
    """"m", "f" or "n"."""
    kind: str
    weak: bool
    """Weak masculine nouns ("der Junge, den Jungen"): all singular cases but the nominative equal the genitive."""
    mass: bool
    """Mass noun: no plural, no indefinite article."""


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective; `stem` takes the German endings (hoch: hoh-), an empty comparative means there is none."""

    english: str
    german: str
    stem: str
    english_comparative: str
    german_comparative: str
    group: int
    """Order before the noun: 1 opinion, 2 size, 3 state and age, 4 colour; never two of one group."""
    passing: bool
    """A temporary state ("tired today"), not a lasting property."""
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb in both languages with the nouns and phrases it selects."""

    english: str
    english_third: str
    english_past: str
    particle: str
    """English particle: "pick up the child", "pick him up"."""
    preposition: str
    """English preposition that stays before its object: "look for him"."""
    infinitive: str
    """Without the separable prefix."""
    first: str
    third: str
    participle: str
    """Without the separable prefix."""
    prefix: str
    auxiliary: str
    """"haben" or "sein"."""
    frame: str
    """"-", "acc", "dat", "give", "explain", "that", "whether" or "to"."""
    subjects: frozenset[str]
    objects: frozenset[str]
    """Kinds of nouns, or single English nouns."""
    place: str
    """"+" may, "!" must, "-" cannot stand with a place; ">" must stand with a direction."""
    manners: str
    """The letters of its manner adverbs; "w" stands for a companion and "b" for a beneficiary."""

    @property
    def name(self) -> str:
        """The English base form with particle or preposition: unique among verbs of one frame."""
        return " ".join(part for part in (self.english, self.particle, self.preposition) if part)


@dataclass(frozen=True, slots=True)
class Adverb:
    """An adverb that needs no agreement; `tenses` lists where it fits: p(resent), a past, f(uture)."""

    english: str
    german: str
    tenses: str = "paf"


@dataclass(frozen=True, slots=True)
class Modal:
    """A modal verb: German present (first and third person, plural) and preterite; English present and past.

    `helper` modals are auxiliaries in English ("can"); others are full verbs with "to" ("wants to").
    """

    english: str
    english_past: str
    helper: bool
    german: str
    german_plural: str
    german_past: str
    german_past_plural: str
    negatable: bool


def english_plural(noun: str) -> str:
    """Return the regular plural."""
    if noun.endswith(("s", "x", "ch", "sh", "to")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def english_third(verb: str) -> str:
    """Return the regular third person singular of the present."""
    return verb + "es" if verb.endswith("o") else english_plural(verb)


def english_past(verb: str) -> str:
    """Return the regular past."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in VOWELS:
        return verb[:-1] + "ied"
    return verb + "ed"


def german_first(infinitive: str) -> str:
    """Return the regular first person singular of the present ("lesen": "lese", "füttern": "füttere")."""
    return (infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]) + "e"


def dative_plural(plural: str) -> str:
    """Return the dative plural: -n, unless the plural ends in n or s."""
    return plural if plural.endswith(("n", "s")) else plural + "n"
