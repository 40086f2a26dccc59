"""Random abstract sentences; every choice uses one random number in [0, 1)."""

from collections.abc import Callable

from data_modules.corpora.grammar.clauses import LASTING, SUBORDINATE_FRAMES, TENSES, ClauseGrower
from data_modules.corpora.grammar.english import goes_before_verb
from data_modules.corpora.grammar.lexicon import DIRECTED, INANIMATE
from data_modules.corpora.grammar.tree import Clause, Gap, Link, NounPhrase, Pronoun, Sentence, Tense
from data_modules.corpora.grammar.verbs import BE

SIMPLE_FRAMES = ("acc",) * 7 + ("-",) * 5 + ("give",) * 3 + ("be",) * 3 + ("dat",) * 2
MAIN_FRAMES = (*SIMPLE_FRAMES, "that", "to", "explain", "whether")
REASONS = ("because",) * 4 + ("although",) * 2
LINK_WORDS = (*REASONS, "while", "while", "if", "when", "when", "before", "until", "as soon as")
COORDINATED = ("and", "and", "but")
LINK_MODES = LINK_WORDS + COORDINATED * 2


class Grower(ClauseGrower):
    """Generates sentences with exactly one translation in each direction."""

    def grow(self, roll: Callable[[], float], links: int | None = None) -> Sentence:
        """Generate a sentence from random numbers in [0, 1), with `links` further clauses if given."""
        self.roll, self.combinations = roll, []
        if links is None and self.chance(0.08):
            return self.question()
        main = self.clause(self.pick(TENSES), self.pick(MAIN_FRAMES), relatives=True)
        sentence = Sentence(main)
        if links is None:
            links = 0
            while links < 4 and self.chance(self.config.joining * (1.0, 0.4, 0.4, 0.4)[links]):
                links += 1
        if links and self.chance(0.2) and self.postponable(main):
            sentence.opening = self.subordinate(main)
            links -= 1
        else:
            self.front(main)
        previous = main
        for _ in range(links):
            sentence.links.append(self.link(previous))
            previous = sentence.links[-1].clause
        return sentence

    def question(self) -> Sentence:
        """Generate a yes-no question, or one with where, when, why or how often."""
        frame = self.pick(("acc", "acc", "-", "-", "give", "dat", "be"))
        clause = self.clause(self.pick(TENSES), frame, relatives=False)
        clause.negated = False
        if isinstance(clause.subject, NounPhrase) and clause.subject.determiner in ("no", "every", ""):
            clause.subject.determiner, clause.subject.owner = "the", None
        words = ["?", "?", "why"]
        if clause.verb.place in ("+", "!"):
            words.append("where")
        if clause.verb.frame != "be" and clause.verb.name not in LASTING:
            words += ["when"] if clause.tense == "future" else ["when", "how often"]
        word = self.pick(words)
        if word == "where":
            clause.place = None
        if word in ("when", "how often"):
            clause.time = clause.frequency = None
        return Sentence(clause, question=word)

    def front(self, clause: Clause) -> None:
        """Front the time or place of a main clause: at random, or where it could not stand at the end."""
        if clause.time and not goes_before_verb(clause.time) and (not self.postponable(clause) or self.chance(0.35)):
            clause.front = "time"
        elif clause.place and clause.verb.place in ("+", "arrival", "lake", "indoors") and self.chance(0.12):
            clause.front = "place"

    def link(self, previous: Clause) -> Link:
        """Generate a clause that follows another one."""
        motion = previous.verb.place in DIRECTED and not previous.negated and not isinstance(previous.subject, Gap)
        if motion and previous.verb.name in ("go", "drive", "come") and self.chance(0.35):
            return Link("in order to", self.infinitive(previous.subject))
        if self.pick(LINK_MODES) in COORDINATED:
            tense: Tense = previous.tense if self.chance(0.8) else self.pick(TENSES)
            clause = self.clause(tense, self.pick(SIMPLE_FRAMES), relatives=True)
            self.front(clause)
            return Link(self.pick(COORDINATED), clause)
        return self.subordinate(previous)

    def subordinate(self, main: Clause) -> Link:
        """Generate a subordinate clause in a tense compatible with the main clause."""
        lasting = main.predicate is not None and not main.predicate.passing
        word = self.pick(REASONS if lasting else LINK_WORDS)
        if word == "if" and main.tense == "past":
            word = "when"
        reason = word in ("because", "although")
        tense: Tense = "present" if main.tense == "future" and not reason else main.tense
        if reason and self.anaphoric(main) and self.chance(0.35):
            return Link(word, self.about_object(main, tense))
        frame = self.pick(SUBORDINATE_FRAMES)
        if frame == "be" and not reason:  # avoids "until the beach is big"
            frame = "-"
        clause = self.clause(tense, frame, relatives=True, modals=reason)
        self.drop_late_time(clause)
        return Link(word, clause)

    def anaphoric(self, clause: Clause) -> bool:
        """Whether a following "it" can only refer to the object."""
        thing = clause.object
        if not isinstance(thing, NounPhrase) or thing.noun.kind not in INANIMATE or not self.postponable(clause):
            return False
        return thing.determiner not in ("no", "every", "") and not isinstance(clause.subject, Gap)

    def about_object(self, main: Clause, tense: Tense) -> Clause:
        """Generate "it is old" about the object of the previous clause; the German pronoun has its gender."""
        assert isinstance(main.object, NounPhrase)
        thing = main.object
        used = {adjective.group for adjective in thing.adjectives}
        lifeless = [a for a in self.lexicon.fitting[thing.noun.english] if "person" not in a.kinds]
        fitting = [a for a in lifeless if a.group not in used]
        if not fitting:
            return self.clause(tense, "-", relatives=False)
        predicate = self.pick(fitting)
        pronoun = Pronoun("they") if thing.plural else Pronoun("it", thing.noun.gender)
        return Clause(pronoun, BE, "present" if tense == "future" else tense, predicate=predicate)
