"""German word order and forms of an abstract sentence.

A clause is: opening, finite verb, middle, closing verbs, and what follows them (section by section in `clause`). A main
clause has its finite verb second, a subordinate clause has it at the very end.
"""

from data_modules.corpora.grammar.inflection import (
    CONTRACTIONS,
    column,
    determiner,
    noun_form,
    relative_pronoun,
    verb_group,
)
from data_modules.corpora.grammar.modifiers import CONJUNCTIONS, COORDINATORS, PRONOUNS, QUESTION_WORDS
from data_modules.corpora.grammar.tree import (
    Adverbial,
    Case,
    Clause,
    Gap,
    Link,
    NounPhrase,
    Person,
    Prepositional,
    Pronoun,
    Relative,
    Repeated,
    Sentence,
    Subject,
)
from data_modules.corpora.grammar.words import Adverb

Words = list[str]
CASE_ROW: dict[Case, int] = {"nom": 0, "acc": 1, "dat": 2}


def german(sentence: Sentence) -> str:
    """Return the sentence as German text."""
    main = sentence.main
    if sentence.question:
        words = inverted(main)
        if sentence.question != "?":
            words.insert(0, QUESTION_WORDS[sentence.question])
    elif sentence.opening:
        words = [*linked(sentence.opening), ",", *inverted(main)]
    else:
        words = verb_second(main)
    for link in sentence.links:
        words += linked(link)
    text = punctuate(words)
    return text[0].upper() + text[1:] + ("?" if sentence.question else ".")


def punctuate(words: Words) -> str:
    """Join the words; clauses bring a comma on both sides, of which one is kept, and none at either end."""
    kept: Words = []
    for word in words:
        if word != ",":
            kept.append(word)
        elif kept and kept[-1] != ",":
            kept.append(",")
    if kept[-1] == ",":
        kept.pop()
    return " ".join(kept).replace(" ,", ",")


def linked(link: Link) -> Words:
    """Return a further clause with the word that joins it and its commas."""
    if link.word == "and":
        return [COORDINATORS[link.word], *verb_second(link.clause)]
    if link.word == "but":
        return [",", COORDINATORS[link.word], *verb_second(link.clause)]
    if link.word == "in order to":
        return [",", "um", *infinitive(link.clause), ","]
    return [",", conjunction(link.word, link.clause), *verb_final(link.clause), ","]


def conjunction(word: str, clause: Clause) -> str:
    return "als" if word == "when" and clause.tense == "past" else CONJUNCTIONS[word]


def verb_second(clause: Clause) -> Words:
    """Return a main clause: the subject or a fronted adverbial, the finite verb, the rest."""
    if clause.front:
        fronted = clause.time if clause.front == "time" else clause.place
        assert fronted is not None
        return adverbial(fronted) + inverted(clause)
    finite, prefix, closing = verb_group(clause)
    middle, after = fields(clause)
    return [*subject(clause.subject), finite, *middle, *filter(None, (prefix, closing)), *after]


def inverted(clause: Clause) -> Words:
    """Return finite verb, subject and the rest: after another opening, and in questions."""
    finite, prefix, closing = verb_group(clause)
    middle, after = fields(clause)
    return [finite, *subject(clause.subject), *middle, *filter(None, (prefix, closing)), *after]


def verb_final(clause: Clause) -> Words:
    """Return a subordinate clause: participle or infinitive, then the finite verb with its prefix, at the end."""
    finite, prefix, closing = verb_group(clause)
    middle, after = fields(clause, at_end=True)
    return [*subject(clause.subject), *middle, *filter(None, (closing, prefix + finite)), *after]


def infinitive(clause: Clause) -> Words:
    """Return an infinitive clause: "zu" before the infinitive, inside a separable verb ("aufzumachen")."""
    middle, after = fields(clause, at_end=True)
    verb = clause.verb
    closing = [f"{verb.prefix}zu{verb.infinitive}"] if verb.prefix else ["zu", verb.infinitive]
    return [*middle, *closing, *after]


def fields(clause: Clause, at_end: bool = False) -> tuple[Words, Words]:
    """Return the middle field without the subject (pronouns, datives, time, accusative, place), and the after-field.

    A relative clause at the end of the middle moves behind the closing verb, if there is one.
    """
    words: Words = []
    after: Words = []
    if isinstance(clause.object, Pronoun):
        words += person(clause.object, object_case(clause))
    if clause.indirect:
        words += person(clause.indirect, "dat")
    dative = clause.verb.frame == "dat"
    if dative:
        add_object(clause, at_end, words, after)
    if clause.time and clause.front != "time":
        words += adverbial(clause.time)
    if clause.frequency:
        words.append(clause.frequency.german)
    if clause.manner and early_manner(clause):
        words.append(clause.manner.german)
    if not dative:
        add_object(clause, at_end, words, after)
    words += late_middle(clause)
    if clause.than:
        after += ["als", *noun_phrase(clause.than, "nom")]
    if clause.content:
        after += content(clause)
    return words, after


def add_object(clause: Clause, at_end: bool, words: Words, after: Words) -> None:
    """Add the object that is a noun phrase, its relative clause to `after` if it can move behind a closing verb."""
    if not isinstance(clause.object, NounPhrase):
        return
    words += noun_phrase(clause.object, object_case(clause), with_relative=False)
    if clause.object.relative:
        _, prefix, closing = verb_group(clause)
        closed = at_end or prefix or closing
        (after if closed and nothing_follows(clause) else words).extend(relative(clause.object.relative, clause.object))


def object_case(clause: Clause) -> Case:
    return "dat" if clause.verb.frame == "dat" else "acc"


def early_manner(clause: Clause) -> bool:
    """Manner goes before an indefinite accusative and after all else."""
    return (
        isinstance(clause.object, NounPhrase)
        and clause.verb.frame != "dat"
        and clause.object.determiner in ("", "a", "no")
    )


def nothing_follows(clause: Clause) -> bool:
    """Whether the object is the last thing before the closing verb."""
    if clause.verb.frame == "dat" and (clause.frequency or (clause.time and clause.front != "time")):
        return False
    late_manner = clause.manner and not early_manner(clause)
    place = clause.place and clause.front != "place"
    return not (clause.negated or late_manner or clause.companion or place)


def late_middle(clause: Clause) -> Words:
    """Return what stands after the object: "nicht", manner, companion, place, predicate."""
    words = ["nicht"] if clause.negated else []
    if clause.manner and not early_manner(clause):
        words.append(clause.manner.german)
    if clause.companion:
        words += prepositional(clause.companion)
    if clause.place and clause.front != "place":
        words += adverbial(clause.place)
    if clause.predicate:
        words.append(clause.predicate.german_comparative if clause.than else clause.predicate.german)
    return words


def content(clause: Clause) -> Words:
    """Return the content clause of a verb such as say, ask or try, with its commas."""
    assert clause.content is not None
    inner = clause.content.clause
    if clause.content.conjunction == "to":
        return [",", *infinitive(inner), ","]
    return [",", conjunction(clause.content.conjunction, inner), *verb_final(inner), ","]


def adverbial(phrase: Adverbial) -> Words:
    if isinstance(phrase, Adverb):
        return [phrase.german]
    if isinstance(phrase, Repeated):
        return noun_phrase(NounPhrase(phrase.noun, "every"), "acc")
    return prepositional(phrase)


def prepositional(phrase: Prepositional) -> Words:
    """Return preposition and noun phrase, the preposition contracted with a definite article where German does so."""
    words = noun_phrase(phrase.phrase, phrase.case)
    definite = phrase.phrase.determiner in ("the", "owned")
    contracted = CONTRACTIONS.get((phrase.german, words[0])) if definite else None
    return [contracted, *words[1:]] if contracted else [phrase.german, *words]


def subject(who: Subject) -> Words:
    return [] if isinstance(who, Gap) else person(who, "nom")


def person(who: Person, case: Case) -> Words:
    """Return a pronoun or noun phrase in `case`; "it" takes the gender of the noun that it stands for."""
    if isinstance(who, NounPhrase):
        return noun_phrase(who, case)
    word = who.word
    if word == "it":  # "it" has the gender of what it stands for: der Brief ... er
        word = {"m": "he", "f": "she", "n": "it"}[who.gender]
    return [PRONOUNS[word][1].split()[CASE_ROW[case]]]


def noun_phrase(phrase: NounPhrase, case: Case, with_relative: bool = True) -> Words:
    """Return determiner, adjectives with their endings, noun, owner in the genitive, relative clause."""
    article, endings = determiner(phrase, case)
    ending = endings[case][column(phrase)]
    words = [article] if article else []
    words += [adjective.stem + ending for adjective in phrase.adjectives]
    words.append(noun_form(phrase.noun, phrase.plural, case))
    if phrase.owner:
        words += noun_phrase(phrase.owner, "gen")
    if phrase.relative and with_relative:
        words += relative(phrase.relative, phrase)
    return words


def relative(clause: Relative, antecedent: NounPhrase) -> Words:
    """Return a relative clause between commas."""
    inner = clause.clause
    match clause.role:
        case "subject":
            opening = [relative_pronoun(antecedent, "nom")]
        case "object":
            opening = [relative_pronoun(antecedent, object_case(inner))]
        case "indirect":
            opening = [relative_pronoun(antecedent, "dat")]
        case "place":
            opening = [clause.preposition[1], relative_pronoun(antecedent, "dat")]
        case "owner":
            opening = [relative_pronoun(antecedent, "gen")]
    return [",", *opening, *verb_final(inner), ","]
