"""The abstract sentence: a syntax tree that each language linearises.

It holds lexemes and agreement features, no word forms. Built at random by `growth.py`, or by hand in tests.
"""

from dataclasses import dataclass, field
from typing import Literal

from data_modules.corpora.grammar.words import Adjective, Adverb, Modal, Noun, Verb

Case = Literal["nom", "acc", "dat", "gen"]
Tense = Literal["present", "past", "future"]
Determiner = Literal["the", "a", "", "this", "every", "no", "my", "our", "his", "her", "owned", "whose"]


@dataclass(slots=True)
class Pronoun:
    """A personal pronoun by its English subject form; "it" has the gender of its referent (weather: neuter)."""

    word: str
    gender: str = "n"

    @property
    def plural(self) -> bool:
        return self.word in ("we", "they")


@dataclass(slots=True)
class Gap:
    """The subject position of a subject relative clause."""

    plural: bool


@dataclass(slots=True)
class NounPhrase:
    """Determiner, adjectives, noun, and what follows it; `owner` goes with the determiner "owned"."""

    noun: Noun
    determiner: Determiner = "the"
    plural: bool = False
    adjectives: tuple[Adjective, ...] = ()
    owner: "NounPhrase | None" = None
    relative: "Relative | None" = None


@dataclass(slots=True)
class Prepositional:
    """A preposition in both languages and the noun phrase in the case that the German one governs."""

    english: str
    german: str
    case: Case
    phrase: NounPhrase
    bare_english: bool = False
    """English has no article ("on Monday"), or `english` contains it; German has it ("am Montag")."""


@dataclass(slots=True)
class Repeated:
    """ "every day": an adverbial noun phrase, in German the accusative."""

    noun: Noun


Person = NounPhrase | Pronoun
Subject = NounPhrase | Pronoun | Gap
Adverbial = Adverb | Prepositional | Repeated


@dataclass(slots=True)
class Clause:
    """A verb with its arguments and adverbials; None where there is none."""

    subject: Subject
    verb: Verb
    tense: Tense = "present"
    modal: Modal | None = None
    negated: bool = False
    indirect: Person | None = None
    """The dative person of "give" and "explain" verbs."""
    object: Person | None = None
    predicate: Adjective | None = None
    than: NounPhrase | None = None
    """What the predicate is compared with: "older than the house"."""
    frequency: Adverb | None = None
    time: Adverbial | None = None
    manner: Adverb | None = None
    companion: Prepositional | None = None
    place: Adverbial | None = None
    """A location, or the direction of a motion."""
    front: Literal["", "time", "place"] = ""
    """Which adverbial opens a main clause; German then puts the subject behind the verb."""
    content: "Content | None" = None


@dataclass(slots=True)
class Content:
    """A content clause: after "that" or "whether", or an infinitive clause for "to"."""

    conjunction: str
    clause: Clause


@dataclass(slots=True)
class Relative:
    """A relative clause; `role` is the grammatical role of the relative pronoun in it."""

    role: Literal["subject", "object", "indirect", "place", "owner"]
    clause: Clause
    preposition: tuple[str, str] = ("", "")
    """English and German preposition of the role "place": "in which", "in dem"."""


@dataclass(slots=True)
class Link:
    """A further clause: after "and" or "but" a main clause, after "in order to" an infinitive, else subordinate."""

    word: str
    clause: Clause


@dataclass(slots=True)
class Sentence:
    """A main clause with an opening subordinate clause or the clauses linked after it, or a question."""

    main: Clause
    opening: Link | None = None
    links: list[Link] = field(default_factory=list)
    question: str = ""
    """ "" a statement, "?" a question to be answered by yes or no, or a question word."""
