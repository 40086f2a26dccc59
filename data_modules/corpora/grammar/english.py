"""English word order and forms of an abstract sentence: subject, verb, object, manner, companion, place, time."""

from data_modules.corpora.grammar.modifiers import ONLY_BEFORE_VERB, PRONOUNS
from data_modules.corpora.grammar.tree import (
    Adverbial,
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
from data_modules.corpora.grammar.words import VOWELS, Adverb, Verb

Words = list[str]


def english(sentence: Sentence) -> str:
    """Return the sentence as English text."""
    main = sentence.main
    if sentence.question:
        words = ([] if sentence.question == "?" else [sentence.question]) + question(main)
    else:
        words = statement(main)
    if sentence.opening:
        words = [*linked(sentence.opening), ",", *words]
    for link in sentence.links:
        words += linked(link)
    text = " ".join(words).replace(" ,", ",")
    return text[0].upper() + text[1:] + ("?" if sentence.question else ".")


def linked(link: Link) -> Words:
    """Return a further clause with the word that joins it."""
    if link.word in ("and", "but"):
        return [",", link.word, *statement(link.clause)]
    if link.word == "in order to":
        return [link.word, *infinitive(link.clause)]
    return [link.word, *statement(link.clause)]


def statement(clause: Clause) -> Words:
    """Return a clause with its subject first, after a fronted adverbial if it has one."""
    helper, verb = verb_words(clause, inverted=False)
    words = []
    if clause.front == "time" and clause.time:
        words += adverbial(clause.time)
    elif clause.front == "place" and clause.place:
        words += adverbial(clause.place)
    words += subject(clause.subject)
    return words + helper + negation(clause, helper) + before_verb(clause) + verb + after_verb(clause)


def question(clause: Clause) -> Words:
    """Return a clause with its auxiliary first."""
    helper, verb = verb_words(clause, inverted=True)
    return helper + subject(clause.subject) + negation(clause, helper) + before_verb(clause) + verb + after_verb(clause)


def infinitive(clause: Clause) -> Words:
    """Return the infinitive and everything after it."""
    return [clause.verb.english, *after_verb(clause)]


def negation(clause: Clause, helper: Words) -> Words:
    return ["not"] if clause.negated and helper != ["cannot"] else []


def before_verb(clause: Clause) -> Words:
    """Return the mid-position adverbs: frequency, and the few times of ONLY_BEFORE_VERB."""
    words = [clause.frequency.english] if clause.frequency else []
    if clause.time and clause.front != "time" and goes_before_verb(clause.time):
        words += adverbial(clause.time)
    return words


def goes_before_verb(time: Adverbial) -> bool:
    """Whether English puts the time before the verb ("already") rather than at the end."""
    return isinstance(time, Adverb) and time.english in ONLY_BEFORE_VERB


def third_singular(who: Subject) -> bool:
    return who.word in ("he", "she", "it") if isinstance(who, Pronoun) else not who.plural


def verb_words(clause: Clause, inverted: bool) -> tuple[Words, Words]:
    """Return the auxiliary (empty without one) and the rest of the verb; negation and questions take "do"."""
    modal, third = clause.modal, third_singular(clause.subject)
    past = clause.tense == "past"
    if clause.verb.frame == "be":
        return be(clause, third)
    if clause.tense == "future":
        return ["will"], [clause.verb.english]
    if modal and modal.helper:
        word = modal.english_past if past else modal.english
        return ["cannot" if word == "can" and clause.negated else word], [clause.verb.english]
    rest = ["to", clause.verb.english] if modal else []
    base, thirds, pasts = (
        (modal.english, modal.english + "s", modal.english_past)
        if modal
        else (clause.verb.english, clause.verb.english_third, clause.verb.english_past)
    )
    if clause.negated or inverted:
        return ["did" if past else "does" if third else "do"], [base, *rest]
    return [], [pasts if past else thirds if third else base, *rest]


def be(clause: Clause, third: bool) -> tuple[Words, Words]:
    """Return the copula as auxiliary."""
    if clause.tense == "future":
        return ["will"], ["be"]
    first = isinstance(clause.subject, Pronoun) and clause.subject.word == "I"
    if clause.tense == "past":
        return ["was" if third or first else "were"], []
    return ["is" if third else "am" if first else "are"], []


def after_verb(clause: Clause) -> Words:
    """Return particle, objects, predicate and adverbials in English order, then the content clause."""
    words = objects(clause, clause.verb)
    if clause.predicate:
        words += predicate(clause)
    if clause.manner:
        words.append(clause.manner.english)
    if clause.companion:
        words += prepositional(clause.companion)
    if clause.place and clause.front != "place":
        words += adverbial(clause.place)
    if clause.time and clause.front != "time" and not goes_before_verb(clause.time):
        words += adverbial(clause.time)
    if clause.content:
        inner = clause.content.clause
        words.append(clause.content.conjunction)
        words += infinitive(inner) if clause.content.conjunction == "to" else statement(inner)
    return words


def objects(clause: Clause, verb: Verb) -> Words:
    """Return the objects with the particle ("picks up the child", "picks him up") or preposition of the verb."""
    particle = [verb.particle] if verb.particle else []
    direct = person(clause.object) if clause.object else []
    if verb.preposition:
        return [verb.preposition, *direct]
    words = direct + particle if isinstance(clause.object, Pronoun) else particle + direct
    if clause.indirect:
        receiver = person(clause.indirect)
        return [*words, "to", *receiver] if verb.frame == "explain" else receiver + words
    return words


def predicate(clause: Clause) -> Words:
    assert clause.predicate is not None
    if clause.than:
        return [clause.predicate.english_comparative, "than", *noun_phrase(clause.than)]
    return [clause.predicate.english]


def adverbial(phrase: Adverbial) -> Words:
    if isinstance(phrase, Adverb):
        return [phrase.english]
    return ["every", phrase.noun.english] if isinstance(phrase, Repeated) else prepositional(phrase)


def prepositional(phrase: Prepositional) -> Words:
    if phrase.bare_english:
        return [phrase.english, phrase.phrase.noun.english]
    return [phrase.english, *noun_phrase(phrase.phrase)]


def subject(who: Subject) -> Words:
    if isinstance(who, Gap):
        return []
    return [who.word] if isinstance(who, Pronoun) else noun_phrase(who)


def person(who: Person) -> Words:
    return [PRONOUNS[who.word][0]] if isinstance(who, Pronoun) else noun_phrase(who)


def noun_phrase(phrase: NounPhrase) -> Words:
    """Return determiner, adjectives, noun and relative clause."""
    words = [adjective.english for adjective in phrase.adjectives]
    words.append(phrase.noun.english_plural if phrase.plural else phrase.noun.english)
    if phrase.owner:
        words[:0] = possessive(phrase.owner)
    elif phrase.determiner == "a":
        words.insert(0, "an" if words[0][0] in VOWELS else "a")
    elif phrase.determiner == "this":
        words.insert(0, "these" if phrase.plural else "this")
    elif phrase.determiner:
        words.insert(0, phrase.determiner)
    if phrase.relative:
        words += relative(phrase.relative, phrase)
    return words


def possessive(owner: NounPhrase) -> Words:
    """Return the owner with the possessive marker on the last word ("doctor's", "doctors'", "men's", "actress's")."""
    words = noun_phrase(owner)
    return [*words[:-1], words[-1] + ("'" if owner.plural and words[-1].endswith("s") else "'s")]


def relative(clause: Relative, antecedent: NounPhrase) -> Words:
    """Return a restrictive relative clause, without commas."""
    if clause.role == "owner":
        return statement(clause.clause)
    if clause.role == "place":
        return [clause.preposition[0], "which", *statement(clause.clause)]
    human = antecedent.noun.kind == "person"
    if clause.role == "subject":
        return ["who" if human else "that", *statement(clause.clause)]
    return ["whom" if human else "that", *statement(clause.clause)]
