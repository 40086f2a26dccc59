"""Random clauses: a verb, its arguments, and only such adverbials as have one translation in both directions."""

from data_modules.config import GrammarConfig
from data_modules.corpora.grammar import modifiers
from data_modules.corpora.grammar.english import goes_before_verb
from data_modules.corpora.grammar.lexicon import OBJECT_FRAMES, Lexicon
from data_modules.corpora.grammar.phrases import PhraseGrower
from data_modules.corpora.grammar.tree import (
    Clause,
    Content,
    Gap,
    NounPhrase,
    Person,
    Prepositional,
    Pronoun,
    Relative,
    Subject,
    Tense,
)
from data_modules.corpora.grammar.verbs import BE, MODALS
from data_modules.corpora.grammar.words import Noun, Verb

SUBORDINATE_FRAMES = ("acc",) * 6 + ("-",) * 6 + ("give", "be", "be", "dat", "dat", "weather")
TENSES: tuple[Tense, ...] = ("present",) * 5 + ("past",) * 4 + ("future",) * 2
UNCHOSEN = frozenset({"lose", "forget", "see", "hear", "find", "fall asleep", "love", "wake up", "depart"})
"""Verbs that take no modal verb."""
LASTING = frozenset({"live", "love", "trust", "know", "believe", "think", "hope"})
"""Stative verbs: no time, manner or frequency adverbials."""
QUANTIFIED = ("no", "every", "a", "")
"""Determiners that exclude "not"."""
SUBJECT_PRONOUNS = ("I", "we", "he", "he", "she", "she", "they")
OBJECT_PRONOUNS = ("I", "we", "he", "she")
LIVED_IN = {"house": ("in", "in"), "city": ("in", "in"), "village": ("in", "in"), "castle": ("in", "in"),
            "hotel": ("in", "in"), "island": ("on", "auf"), "room": ("in", "in")}  # fmt: skip
"""Nouns that take a relative clause of place ("the house in which ..."), with their prepositions."""


class ClauseGrower(PhraseGrower):
    """Generates clauses with their relative, content and infinitive clauses."""

    def __init__(self, lexicon: Lexicon, config: GrammarConfig) -> None:
        super().__init__(lexicon)
        self.config = config

    def clause(
        self, tense: Tense, frame: str, relatives: bool, modals: bool = True, subject: Subject | None = None,
        verb: Verb | None = None,
    ) -> Clause:  # fmt: skip
        """Generate a clause; `subject` and `verb` are given inside relative clauses."""
        if frame == "weather":
            return Clause(Pronoun("it"), self.pick(self.lexicon.verbs["weather"]), tense)
        if frame == "be":
            return self.description(tense, relatives, subject)
        verb = verb or self.pick(self.lexicon.verbs[frame])
        who = subject or self.subject(verb, relatives)
        clause = Clause(who, verb, tense)
        if tense == "past" and verb.english_past == verb.english:  # "they read" is ambiguous
            self.make_singular(clause)
        self.add_objects(clause, relatives)
        if frame in ("that", "whether", "to"):
            self.add_content(clause)
        elif modals and tense != "future" and verb.name not in UNCHOSEN and self.personal(who) and self.chance(0.22):
            attribute = "english_past" if tense == "past" else "german"
            clause.modal = self.pick([modal for modal in MODALS if getattr(modal, attribute)])
        self.add_adverbials(clause)
        return clause

    @staticmethod
    def personal(who: Subject) -> bool:
        return isinstance(who, Pronoun) or (isinstance(who, NounPhrase) and who.noun.kind == "person")

    def subject(self, verb: Verb, relatives: bool) -> Subject:
        """Draw a subject that the verb allows: a pronoun, or a noun phrase that may have a relative clause."""
        if "person" in verb.subjects and self.chance(0.28):
            return Pronoun(self.pick(SUBJECT_PRONOUNS))
        phrase = self.noun_phrase(self.pick(self.lexicon.subjects[verb.name]), "subject")
        if relatives:
            self.maybe_relative(phrase, self.config.nesting * 0.5)
        return phrase

    def description(self, tense: Tense, relatives: bool, subject: Subject | None) -> Clause:
        """Generate "the garden is old" or "the garden is older than the house"."""
        noun = self.pick(self.lexicon.describable)
        who = subject or self.noun_phrase(noun, "definite", adjectives=0.15)
        fitting = self.lexicon.fitting[noun.english]
        if isinstance(who, NounPhrase):
            fitting = [a for a in fitting if a.group not in {x.group for x in who.adjectives}] or fitting
        predicate = self.pick(fitting)
        clause = Clause(who, BE, tense, predicate=predicate)
        if tense == "future" and not predicate.passing:
            clause.tense = "present"
        kin = [n for n in self.lexicon.describable if n.kind == noun.kind and n is not noun]
        comparable = predicate.english_comparative and not predicate.passing and kin
        if comparable and self.chance(0.35):
            clause.than = self.noun_phrase(self.pick(kin), "definite", adjectives=0.1)
        elif predicate.passing:
            if self.chance(0.4):
                clause.time = self.time(clause.tense)
        elif relatives and isinstance(who, NounPhrase):
            self.maybe_relative(who, self.config.nesting)
        clause.negated = self.chance(0.08)
        if clause.negated and clause.time and goes_before_verb(clause.time):
            clause.time = None
        return clause

    def add_objects(self, clause: Clause, relatives: bool) -> None:
        """Add the objects of the verb."""
        verb = clause.verb
        if verb.frame in ("give", "explain"):
            clause.indirect = self.other_person(clause)
        if not verb.objects:
            return
        animate = "person" in verb.objects
        if animate and self.chance(0.2):
            clause.object = self.object_pronoun(clause)
            if clause.object:
                return
        noun = self.pick(self.lexicon.objects[verb.name])
        if isinstance(clause.subject, NounPhrase) and clause.subject.noun is noun:
            options = [n for n in self.lexicon.objects[verb.name] if n is not noun]
            noun = self.pick(options) if options else noun
        self.combinations.append((verb.name, noun.english))
        phrase = clause.object = self.noun_phrase(noun, "object")
        if isinstance(clause.subject, NounPhrase) and clause.subject.determiner == "no" and phrase.determiner == "no":
            phrase.determiner = "the"
        if relatives and verb.frame != "explain":
            self.maybe_relative(phrase, self.config.nesting)

    def other_person(self, clause: Clause) -> Person:
        pronoun = self.object_pronoun(clause) if self.chance(0.25) else None
        return pronoun or self.noun_phrase(self.pick(self.lexicon.persons), "person", adjectives=0.15)

    def object_pronoun(self, clause: Clause) -> Pronoun | None:
        """Return a pronoun that cannot refer to the subject; "them" would be "sie", which is also "her"."""
        word = self.pick(OBJECT_PRONOUNS)
        speakers = ("I", "we")
        if isinstance(clause.subject, Pronoun) and (
            clause.subject.word == word or (clause.subject.word in speakers and word in speakers)
        ):
            return None
        return Pronoun(word)

    def add_content(self, clause: Clause) -> None:
        """Add the content clause of a verb of speech, thought or attempt."""
        word = clause.verb.frame
        if word == "to":
            clause.content = Content(word, self.infinitive(clause.subject))
            return
        tense: Tense = "past" if clause.tense == "past" else "present"
        if clause.tense == "present":
            tense = self.pick(TENSES)
        if clause.verb.name == "hope" and tense == "present":
            tense = "future"
        inner = self.clause(tense, self.pick(SUBORDINATE_FRAMES), relatives=True)
        self.drop_late_time(inner)
        clause.content = Content(word, inner)

    def infinitive(self, subject: Subject) -> Clause:
        """Generate an infinitive clause; its implicit subject is that of the main clause."""
        frame = self.pick(OBJECT_FRAMES)
        verbs = [verb for verb in self.lexicon.verbs[frame] if verb.name not in UNCHOSEN]
        inner = self.clause("present", frame, relatives=True, modals=False, subject=subject, verb=self.pick(verbs))
        inner.time = inner.frequency = None
        inner.negated = False
        if isinstance(inner.object, NounPhrase) and inner.object.determiner == "no":
            inner.object.determiner = "the"
        return inner

    def add_adverbials(self, clause: Clause) -> None:
        """Add negation, frequency, time, manner, companion and place where they are unambiguous."""
        verb = clause.verb
        room = self.postponable(clause)
        quantified = any(
            isinstance(part, NounPhrase) and part.determiner in QUANTIFIED
            for part in (clause.subject, clause.object, clause.indirect)
        )
        can_negate = not quantified and (clause.modal is None or clause.modal.negatable)
        clause.negated = can_negate and self.chance(0.1)
        if room and verb.place != "-" and (verb.place != "+" or self.chance(0.25)):
            clause.place = self.place(verb.place)
        if verb.name in LASTING:
            return
        if self.chance(0.4):
            clause.time = self.time("present" if clause.modal and clause.tense == "present" else clause.tense)
            if goes_before_verb(clause.time) and (clause.negated or clause.modal):
                clause.time = None
        if self.may_recur(clause) and self.chance(0.12):
            clause.frequency = self.pick(modifiers.FREQUENCIES)
        if room and not clause.negated:
            letters = [letter for letter in verb.manners if letter in modifiers.MANNERS]
            early = clause.time and goes_before_verb(clause.time)
            if letters and not early and self.chance(0.15):
                clause.manner = modifiers.MANNERS[self.pick(letters)]
            elif self.chance(0.12):
                clause.companion = self.companion(verb.manners)

    @staticmethod
    def may_recur(clause: Clause) -> bool:
        """Whether a frequency adverb fits: no negation, no future, no single occasion, no "no" or "every"."""
        if clause.negated or clause.tense == "future":
            return False
        if clause.time and not isinstance(clause.time, Prepositional):
            return False
        parts = (clause.subject, clause.object)
        return not any(isinstance(part, NounPhrase) and part.determiner in ("no", "every") for part in parts)

    def maybe_relative(self, phrase: NounPhrase, probability: float) -> None:
        """Add a relative clause with this probability, if the noun can be the subject or object of a verb."""
        if phrase.owner or phrase.determiner in ("my", "our", "his", "her") or not self.chance(probability):
            return
        noun = phrase.noun
        governing, doing = self.lexicon.governing[noun.english], self.lexicon.doing[noun.english]
        roles = ["object"] * 3 * bool(governing) + ["subject"] * 3 * bool(doing)
        roles += ["owner"] * (noun.kind == "person") + ["place"] * 3 * (noun.english in LIVED_IN)
        if not roles:
            return
        tense: Tense = self.pick(("present", "present", "past"))
        phrase.relative = self.relative(noun, self.pick(roles), tense, phrase.plural)

    def relative(self, noun: Noun, role: str, tense: Tense, plural: bool) -> Relative:
        """Generate a relative clause whose pronoun has the given role; it has no nested relative clause."""
        if role == "subject":
            verb = self.pick(self.lexicon.doing[noun.english])
            return Relative("subject", self.inner(tense, verb, Gap(plural)))
        if role == "owner":
            verb = self.pick(self.lexicon.verbs[self.pick(("-", "acc"))])
            owned = self.noun_phrase(self.pick(self.lexicon.subjects[verb.name]), "subject", adjectives=0.2)
            owned.determiner, owned.owner = "whose", None
            return Relative("owner", self.inner(tense, verb, owned))
        if role == "place":
            verb = self.pick(self.lexicon.dwelling)
            clause = self.inner(tense, verb, None)
            clause.place, clause.negated = None, False
            return Relative("place", clause, LIVED_IN[noun.english])
        verb = self.pick(self.lexicon.governing[noun.english])
        self.combinations.append((verb.name, noun.english))
        clause = self.inner(tense, verb, None)
        if isinstance(clause.subject, NounPhrase) and clause.subject.noun is noun:
            clause.subject = Pronoun("he")
        clause.object = None
        return Relative("object", clause)

    def inner(self, tense: Tense, verb: Verb, subject: Subject | None) -> Clause:
        """Generate the clause inside a relative clause."""
        clause = self.clause(tense, verb.frame, relatives=False, subject=subject, verb=verb)
        if isinstance(clause.subject, NounPhrase) and clause.subject.determiner == "no":
            clause.subject.determiner = "the"
        return clause

    def make_singular(self, clause: Clause) -> None:
        """Change the subject to one whose verb form marks the tense."""
        if isinstance(clause.subject, Pronoun):
            clause.subject = Pronoun(self.pick(("he", "she")))
        elif isinstance(clause.subject, NounPhrase):
            clause.subject.plural = False
            clause.subject.determiner = clause.subject.determiner or "the"
        elif clause.subject.plural:
            clause.tense = "present"

    def drop_late_time(self, clause: Clause) -> None:
        if not self.postponable(clause):
            clause.time = None

    def postponable(self, clause: Clause) -> bool:
        """Whether an adverbial may follow: after an embedded clause it would modify that one."""
        return not clause.content and not (isinstance(clause.object, NounPhrase) and clause.object.relative)
