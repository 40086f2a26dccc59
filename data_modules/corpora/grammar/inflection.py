"""German endings, from tables: column m, f, n or p (plural, any gender), row nominative to genitive."""

from data_modules.corpora.grammar.tree import Case, Clause, NounPhrase, Pronoun, Subject
from data_modules.corpora.grammar.words import Noun, Verb, dative_plural

Table = dict[Case, dict[str, str]]


def table(text: str) -> Table:
    """Read four lines of four forms; "-" is an empty ending."""
    cases: tuple[Case, ...] = ("nom", "acc", "dat", "gen")
    rows = (line.split() for line in text.strip().splitlines())
    return {
        case: {column: "" if form == "-" else form for column, form in zip("mfnp", row, strict=True)}
        for case, row in zip(cases, rows, strict=True)
    }


DEFINITE = table("""
    der die das die
    den die das die
    dem der dem den
    des der des der""")
RELATIVE = table("""
    der   die   das    die
    den   die   das    die
    dem   der   dem    denen
    dessen deren dessen deren""")
DIESER = table("""
    er e  es e
    en e  es e
    em er em en
    es er es er""")
EIN = table("""
    -  e  -  e
    en e  -  e
    em er em en
    es er es er""")
WEAK = table("""
    e  e  e  en
    en e  e  en
    en en en en
    en en en en""")
MIXED = table("""
    er e  es en
    en e  es en
    en en en en
    en en en en""")
STRONG = table("""
    er e  es e
    en e  es e
    em er em en
    en er en er""")

STEMS = {"this": ("dies", DIESER, WEAK), "every": ("jed", DIESER, WEAK), "a": ("ein", EIN, MIXED),
         "no": ("kein", EIN, MIXED), "my": ("mein", EIN, MIXED), "our": ("unser", EIN, MIXED),
         "his": ("sein", EIN, MIXED), "her": ("ihr", EIN, MIXED)}  # fmt: skip
"""Determiner: stem, its endings, the endings of adjectives after it."""

CONTRACTIONS = {("in", "dem"): "im", ("an", "dem"): "am", ("zu", "dem"): "zum", ("zu", "der"): "zur",
                ("von", "dem"): "vom", ("in", "das"): "ins", ("an", "das"): "ans"}  # fmt: skip
"""Contractions of preposition and definite article; relative pronouns never contract ("in dem")."""


def column(phrase: NounPhrase) -> str:
    """Return the column of the tables that a noun phrase agrees with."""
    return "p" if phrase.plural else phrase.noun.gender


def noun_form(noun: Noun, plural: bool, case: Case) -> str:
    """Return the noun in number and case."""
    if plural:
        return dative_plural(noun.german_plural) if case == "dat" else noun.german_plural
    if case == "gen" or (noun.weak and case != "nom"):
        return noun.genitive
    return noun.german


def determiner(phrase: NounPhrase, case: Case) -> tuple[str, Table]:
    """Return the determiner's form, empty for none, and the adjective endings that it requires."""
    word = phrase.determiner
    if word in ("the", "owned"):
        return DEFINITE[case][column(phrase)], WEAK
    if word in ("", "whose"):
        return "", STRONG
    stem, endings, adjective_endings = STEMS[word]
    return stem + endings[case][column(phrase)], adjective_endings


def agreement(who: Subject) -> str:
    """Return the verb form that agrees with a subject: "first", "third" or "plural"."""
    if isinstance(who, Pronoun) and who.word == "I":
        return "first"
    return "plural" if who.plural else "third"


AUXILIARIES = {
    "haben": {"first": "habe", "third": "hat", "plural": "haben"},
    "sein": {"first": "bin", "third": "ist", "plural": "sind"},
    "werden": {"first": "werde", "third": "wird", "plural": "werden"},
    "war": {"first": "war", "third": "war", "plural": "waren"},
}


def present(verb: Verb, form: str) -> str:
    """Return the present without its separable prefix."""
    return verb.first if form == "first" else verb.third if form == "third" else verb.infinitive


def verb_group(clause: Clause) -> tuple[str, str, str]:
    """Return (finite verb, separable prefix at the end, infinitive or participle at the end)."""
    verb, form = clause.verb, agreement(clause.subject)
    infinitive = verb.prefix + verb.infinitive
    if clause.modal:
        modal, plural = clause.modal, form == "plural"
        if clause.tense == "past":
            return modal.german_past_plural if plural else modal.german_past, "", infinitive
        return modal.german_plural if plural else modal.german, "", infinitive
    if clause.tense == "future":
        return AUXILIARIES["werden"][form], "", infinitive
    if verb.frame == "be":
        return AUXILIARIES["war" if clause.tense == "past" else "sein"][form], "", ""
    if clause.tense == "past":
        return AUXILIARIES[verb.auxiliary][form], "", verb.prefix + verb.participle
    return present(verb, form), verb.prefix, ""


def relative_pronoun(antecedent: NounPhrase, case: Case) -> str:
    """Return der, die, das in the gender and number of the antecedent and the case of its own clause."""
    return RELATIVE[case][column(antecedent)]
