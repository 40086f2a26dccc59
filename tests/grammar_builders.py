"""Short ways to build the abstract sentences of the grammar corpus by hand."""

from data_modules.corpora.grammar.english import english
from data_modules.corpora.grammar.german import german
from data_modules.corpora.grammar.modifiers import ADJECTIVES, FREQUENCIES, TIMES
from data_modules.corpora.grammar.nouns import NOUNS
from data_modules.corpora.grammar.tree import Clause, Gap, NounPhrase, Prepositional, Pronoun, Sentence
from data_modules.corpora.grammar.verbs import BE, MODALS, VERBS

Pair = tuple[Clause | Sentence, str, str]
VERB = {verb.name: verb for verb in VERBS}
ADJECTIVE = {adjective.english: adjective for adjective in ADJECTIVES}
TIME = {adverb.english: adverb for adverb in TIMES}
OFTEN = {adverb.english: adverb for adverb in FREQUENCIES}
MODAL = {modal.english: modal for modal in MODALS}


def np(words: str, **parts: object) -> NounPhrase:
    """Build a noun phrase from "the old doctor"; a "-" is no article, a trailing "+" the plural."""
    determiner, *adjectives, noun = words.split()
    return NounPhrase(
        NOUNS[noun.rstrip("+")],
        "" if determiner == "-" else determiner,  # type: ignore[arg-type]
        noun.endswith("+"),
        tuple(ADJECTIVE[a] for a in adjectives),
        **parts,  # type: ignore[arg-type]
    )


def owned(words: str, owner: NounPhrase) -> NounPhrase:
    return np(f"owned {words}", owner=owner)


def clause(subject: str | Pronoun | Gap | NounPhrase, verb: str, what: str = "", **parts: object) -> Clause:
    """Build a clause; `what` is its object."""
    who = np(subject) if isinstance(subject, str) else subject
    if what:
        parts["object"] = np(what)
    return Clause(who, BE if verb == "be" else VERB[verb], **parts)  # type: ignore[arg-type]


def prep(english_word: str, german_word: str, case: str, words: str, bare: bool = False) -> Prepositional:
    return Prepositional(english_word, german_word, case, np(words), bare)  # type: ignore[arg-type]


EVENING = prep("in the", "an", "dat", "the evening", bare=True)
MYSELF, SHE, HE, WE, THEY = (Pronoun(word) for word in ("I", "she", "he", "we", "they"))
SLEEPS = clause("the child", "sleep")


def check(pair: Pair) -> None:
    """Assert that a tree says the English and the German that stand beside it."""
    tree, expected_english, expected_german = pair
    sentence = tree if isinstance(tree, Sentence) else Sentence(tree)
    assert english(sentence) == expected_english
    assert german(sentence) == expected_german
