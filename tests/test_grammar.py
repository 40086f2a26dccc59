"""The embedded corpus: pairs derived by hand for each phenomenon of the grammar, and properties of what it draws."""

import hashlib
import random
import re
from collections import defaultdict
from dataclasses import replace
from functools import lru_cache

import pytest

from data_modules.config import GrammarConfig
from data_modules.corpora.grammar import generate
from data_modules.corpora.grammar.english import english
from data_modules.corpora.grammar.generate import Generator
from data_modules.corpora.grammar.german import german
from data_modules.corpora.grammar.lexicon import Lexicon
from data_modules.corpora.grammar.modifiers import ADJECTIVES, CONJUNCTIONS, FREQUENCIES, HOME, MANNERS, TIMES
from data_modules.corpora.grammar.nouns import NOUNS
from data_modules.corpora.grammar.tree import (
    Clause,
    Content,
    Gap,
    Link,
    NounPhrase,
    Prepositional,
    Pronoun,
    Relative,
    Repeated,
    Sentence,
)
from data_modules.corpora.grammar.verbs import BE, MODALS, VERBS
from lit_transformer.errors import UserError

SMALL = GrammarConfig(train=1000, valid=60, test=60, test_long=40, test_comp=40)
VERB = {verb.name: verb for verb in VERBS}
ADJECTIVE = {adjective.english: adjective for adjective in ADJECTIVES}
TIME = {adverb.english: adverb for adverb in TIMES}
OFTEN = {adverb.english: adverb for adverb in FREQUENCIES}
PAST_MODAL = {modal.english: modal for modal in MODALS}


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
I, SHE, HE, WE, THEY = (Pronoun(word) for word in ("I", "she", "he", "we", "they"))
READS = clause("the old doctor", "read", "a book", time=EVENING)
SLEEPS = clause("the child", "sleep")

PAIRS: dict[str, tuple[Clause | Sentence, str, str]] = {
    "verb second": (READS, "The old doctor reads a book in the evening.", "Der alte Arzt liest am Abend ein Buch."),
    "verb second, time first": (
        replace(READS, front="time"),
        "In the evening the old doctor reads a book.",
        "Am Abend liest der alte Arzt ein Buch.",
    ),
    "place first, two-way preposition with the dative": (
        clause("the child", "play", place=prep("under", "unter", "dat", "this big tree"), front="place"),
        "Under this big tree the child plays.",
        "Unter diesem großen Baum spielt das Kind.",
    ),
    "weak endings, masculine accusative": (
        clause("the young woman", "see", "the old man"),
        "The young woman sees the old man.",
        "Die junge Frau sieht den alten Mann.",
    ),
    "mixed endings": (
        clause("a small dog", "see", "a small cat"),
        "A small dog sees a small cat.",
        "Ein kleiner Hund sieht eine kleine Katze.",
    ),
    "mixed endings, neuter": (
        clause("a small horse", "see", "a small horse"),
        "A small horse sees a small horse.",
        "Ein kleines Pferd sieht ein kleines Pferd.",
    ),
    "strong endings, singular": (
        clause("the man", "drink", "- cold water"),
        "The man drinks cold water.",
        "Der Mann trinkt kaltes Wasser.",
    ),
    "strong endings, masculine accusative": (
        clause("the man", "drink", "- hot coffee"),
        "The man drinks hot coffee.",
        "Der Mann trinkt heißen Kaffee.",
    ),
    "strong endings, plural": (
        clause("- happy child+", "buy", "- fresh egg+"),
        "Happy children buy fresh eggs.",
        "Glückliche Kinder kaufen frische Eier.",
    ),
    "weak plural and dieser": (
        clause("this new car+", "be", predicate=ADJECTIVE["fast"]),
        "These new cars are fast.",
        "Diese neuen Autos sind schnell.",
    ),
    "kein and mein": (
        clause("my clever brother", "find", "no red ball"),
        "My clever brother finds no red ball.",
        "Mein kluger Bruder findet keinen roten Ball.",
    ),
    "dative plural in -n": (
        clause("the nurse", "help", "the sick child+"),
        "The nurse helps the sick children.",
        "Die Krankenschwester hilft den kranken Kindern.",
    ),
    "dative plural without -n after -s and -n": (
        clause("the cat", "follow", "the bird+", time=prep("during", "während", "gen", "the storm")),
        "The cat follows the birds during the storm.",
        "Die Katze folgt den Vögeln während des Sturmes.",
    ),
    "dative before accusative": (
        clause("the aunt", "give", "a heavy bag", indirect=np("the young student+")),
        "The aunt gives the young students a heavy bag.",
        "Die Tante gibt den jungen Studenten eine schwere Tasche.",
    ),
    "English to, German dative": (
        clause("the teacher", "explain", "the short poem", indirect=np("the girl")),
        "The teacher explains the short poem to the girl.",
        "Der Lehrer erklärt dem Mädchen das kurze Gedicht.",
    ),
    "weak noun": (
        clause("every boy", "greet", "the neighbour"),
        "Every boy greets the neighbour.",
        "Jeder Junge grüßt den Nachbarn.",
    ),
    "genitive, masculine": (
        Clause(owned("new book", np("the old doctor")), BE, predicate=ADJECTIVE["interesting"]),
        "The old doctor's new book is interesting.",
        "Das neue Buch des alten Arztes ist interessant.",
    ),
    "genitive, feminine and plural": (
        Clause(
            owned("friend", np("our daughter+")), VERB["see"], object=owned("dog+", np("a rich woman")), tense="past"
        ),
        "Our daughters' friend saw a rich woman's dogs.",
        "Der Freund unserer Töchter hat die Hunde einer reichen Frau gesehen.",
    ),
    "genitive after a preposition": (
        clause("the child+", "stay", place=prep("in", "in", "dat", "the house"),
               time=prep("because of", "wegen", "gen", "the rain")),
        "The children stay in the house because of the rain.",
        "Die Kinder bleiben wegen des Regens im Haus.",
    ),
    "accusative of time": (
        clause(I, "wash", "the window+", time=Repeated(NOUNS["day"])),
        "I wash the windows every day.",
        "Ich wasche jeden Tag die Fenster.",
    ),
    "contractions im and zum, accusative of direction": (
        Sentence(
            clause(SHE, "go", place=prep("to", "zu", "dat", "the market")),
            links=[Link("and", clause(HE, "go", place=prep("into", "in", "acc", "the castle")))],
        ),
        "She goes to the market, and he goes into the castle.",
        "Sie geht zum Markt und er geht ins Schloss.",
    ),
    "contraction zur, none after an indefinite article": (
        Sentence(
            clause(WE, "hike", place=prep("to", "zu", "dat", "the bridge")),
            links=[Link("but", clause("the girl", "run", place=prep("to", "zu", "dat", "a school")))],
        ),
        "We hike to the bridge, but the girl runs to a school.",
        "Wir wandern zur Brücke, aber das Mädchen läuft zu einer Schule.",
    ),
    "contractions with an adjective": (
        clause("the guest", "wait", place=prep("at", "an", "dat", "the old station"), time=TIME["now"]),
        "The guest waits at the old station now.",
        "Der Gast wartet jetzt am alten Bahnhof.",
    ),
    "separable verb, second position": (
        clause("the mother", "open", "the door", manner=MANNERS["u"]),
        "The mother opens the door quietly.",
        "Die Mutter macht die Tür leise auf.",
    ),
    "separable verb, participle, haben": (
        clause("the guest+", "put on", "his coat+", tense="past"),
        "The guests put on his coats.",
        "Die Gäste haben seine Mäntel angezogen.",
    ),
    "separable verb, participle, sein": (
        clause("the train", "arrive", tense="past", time=TIME["yesterday"]),
        "The train arrived yesterday.",
        "Der Zug ist gestern angekommen.",
    ),
    "separable verb, subordinate": (
        Sentence(SLEEPS, links=[Link("until", clause("the father", "wake up"))]),
        "The child sleeps until the father wakes up.",
        "Das Kind schläft, bis der Vater aufwacht.",
    ),
    "separable verb, infinitive with zu": (
        clause("the uncle", "try", content=Content("to", clause(Gap(False), "invite", "the nurse"))),
        "The uncle tries to invite the nurse.",
        "Der Onkel versucht, die Krankenschwester einzuladen.",
    ),
    "separable verb, modal": (
        clause("the boy", "tidy up", "the room", modal=PAST_MODAL["must"]),
        "The boy must tidy up the room.",
        "Der Junge muss das Zimmer aufräumen.",
    ),
    "separable matrix verb with an infinitive": (
        clause(SHE, "begin", tense="past", content=Content("to", clause(SHE, "bake", "a cake"))),
        "She began to bake a cake.",
        "Sie hat angefangen, einen Kuchen zu backen.",
    ),
    "modal, plural and negation": (
        clause(THEY, "sell", "our car", modal=PAST_MODAL["want"], negated=True),
        "They do not want to sell our car.",
        "Sie wollen unser Auto nicht verkaufen.",
    ),
    "modal, past": (
        clause("the baker", "get up", tense="past", modal=PAST_MODAL["have"]),
        "The baker had to get up.",
        "Der Bäcker musste aufstehen.",
    ),
    "future": (
        clause("the farmer+", "feed", "the cow+", tense="future", time=TIME["tomorrow"]),
        "The farmers will feed the cows tomorrow.",
        "Die Bauern werden morgen die Kühe füttern.",
    ),
    "perfect, sein with motion": (
        clause(WE, "run", place=HOME, tense="past"), "We ran home.", "Wir sind nach Hause gelaufen.",
    ),
    "verb final, perfect": (
        Sentence(clause("the man", "laugh", tense="past"),
                 links=[Link("because", clause("the cat", "find", "a mouse", tense="past"))]),
        "The man laughed because the cat found a mouse.",
        "Der Mann hat gelacht, weil die Katze eine Maus gefunden hat.",
    ),
    "verb final, modal, clause first": (
        Sentence(clause("the girl", "read", "a letter"),
                 opening=Link("although", clause(SHE, "help", "the aunt", modal=PAST_MODAL["should"]))),
        "Although she should help the aunt, the girl reads a letter.",
        "Obwohl sie der Tante helfen sollte, liest das Mädchen einen Brief.",
    ),
    "when in the present": (
        Sentence(SLEEPS, links=[Link("when", clause(Pronoun("it"), "rain"))]),
        "The child sleeps when it rains.",
        "Das Kind schläft, wenn es regnet.",
    ),
    "when in the past": (
        Sentence(replace(SLEEPS, tense="past"), links=[Link("when", clause(Pronoun("it"), "rain", tense="past"))]),
        "The child slept when it rained.",
        "Das Kind hat geschlafen, als es geregnet hat.",
    ),
    "content clause": (
        clause(I, "know", content=Content("that", clause("the king", "love", "the princess"))),
        "I know that the king loves the princess.",
        "Ich weiß, dass der König die Prinzessin liebt.",
    ),
    "indirect question": (
        clause("the woman", "ask", tense="past", content=Content("whether", clause("the bus+", "depart", tense="past"))),
        "The woman asked whether the buses departed.",
        "Die Frau hat gefragt, ob die Busse abgefahren sind.",
    ),
    "purpose": (
        Sentence(clause(HE, "drive", place=prep("to", "zu", "dat", "the station")),
                 links=[Link("in order to", clause(HE, "pick up", "the guest"))]),
        "He drives to the station in order to pick up the guest.",
        "Er fährt zum Bahnhof, um den Gast abzuholen.",
    ),
    "relative, subject": (
        Clause(np("the woman", relative=Relative("subject", clause(Gap(False), "live", place=prep(
            "in", "in", "dat", "the city")))), VERB["sell"], object=np("a picture")),
        "The woman who lives in the city sells a picture.",
        "Die Frau, die in der Stadt wohnt, verkauft ein Bild.",
    ),
    "relative, object, masculine": (
        Clause(np("the key", relative=Relative("object", clause(SHE, "look for"))), BE, predicate=ADJECTIVE["heavy"]),
        "The key that she looks for is heavy.",
        "Der Schlüssel, den sie sucht, ist schwer.",
    ),
    "relative, dative, and plural": (
        Sentence(
            Clause(np("the man", relative=Relative("object", clause(I, "trust"))), VERB["greet"],
                   object=np("the child+", relative=Relative("object", clause("the teacher", "help"))))
        ),
        "The man whom I trust greets the children whom the teacher helps.",
        "Der Mann, dem ich vertraue, grüßt die Kinder, denen der Lehrer hilft.",
    ),
    "relative, genitive": (
        Clause(np("the mother", relative=Relative("owner", clause("whose clever son", "work"))), VERB["laugh"]),
        "The mother whose clever son works laughs.",
        "Die Mutter, deren kluger Sohn arbeitet, lacht.",
    ),
    "relative, prepositional, not contracted": (
        Clause(np("the hotel", relative=Relative("place", clause(WE, "wait"), ("in", "in"))), BE,
               predicate=ADJECTIVE["famous"]),
        "The hotel in which we wait is famous.",
        "Das Hotel, in dem wir warten, ist berühmt.",
    ),
    "relative behind the participle": (
        Clause(SHE, VERB["buy"], tense="past",
               object=np("the hat", relative=Relative("object", clause(HE, "sell", modal=PAST_MODAL["want"])))),
        "She bought the hat that he wants to sell.",
        "Sie hat den Hut gekauft, den er verkaufen will.",
    ),
    "relative before a further clause: one comma": (
        Sentence(
            Clause(HE, VERB["read"],
                   object=np("the novel", relative=Relative("object", clause("the man", "write", tense="past")))),
            links=[Link("because", clause(Pronoun("it"), "snow"))],
        ),
        "He reads the novel that the man wrote because it snows.",
        "Er liest den Roman, den der Mann geschrieben hat, weil es schneit.",
    ),
    "it has the gender of its antecedent": (
        Sentence(clause("the student", "buy", "the lamp"),
                 links=[Link("because", Clause(Pronoun("it", "f"), BE, predicate=ADJECTIVE["new"]))]),
        "The student buys the lamp because it is new.",
        "Der Student kauft die Lampe, weil sie neu ist.",
    ),
    "it, masculine, past": (
        Sentence(clause("the student", "read", "the letter", tense="past"),
                 links=[Link("although", Clause(Pronoun("it", "m"), BE, "past", predicate=ADJECTIVE["long"]))]),
        "The student read the letter although it was long.",
        "Der Student hat den Brief gelesen, obwohl er lang war.",
    ),
    "pronoun objects before time": (
        Clause(HE, VERB["show"], indirect=I, object=np("a picture"), time=TIME["today"]),
        "He shows me a picture today.",
        "Er zeigt mir heute ein Bild.",
    ),
    "pronoun between verb and particle": (
        Clause(WE, VERB["pick up"], object=HE, time=TIME["soon"], tense="future"),
        "We will pick him up soon.",
        "Wir werden ihn bald abholen.",
    ),
    "time, manner, place": (
        clause(THEY, "play", time=prep("in", "in", "dat", "the summer", bare=True), frequency=OFTEN["often"],
               manner=MANNERS["u"], place=prep("in", "in", "dat", "the park")),
        "They often play quietly in the park in summer.",
        "Sie spielen im Sommer oft leise im Park.",
    ),
    "comparison": (
        Clause(np("the tower"), BE, predicate=ADJECTIVE["old"], than=np("the house+")),
        "The tower is older than the houses.",
        "Der Turm ist älter als die Häuser.",
    ),
    "irregular stem, and a comparative with more": (
        Sentence(clause("the woman", "buy", "a expensive dress"),
                 links=[Link("although", Clause(np("the coat"), BE, predicate=ADJECTIVE["beautiful"],
                                                than=np("the dress")))]),
        "The woman buys an expensive dress although the coat is more beautiful than the dress.",
        "Die Frau kauft ein teures Kleid, obwohl der Mantel schöner ist als das Kleid.",
    ),
    "question": (
        Sentence(clause("the farmer", "repair", "the window"), question="?"),
        "Does the farmer repair the window?",
        "Repariert der Bauer das Fenster?",
    ),
    "question word, perfect": (
        Sentence(clause(SHE, "see", "the bear", tense="past"), question="where"),
        "Where did she see the bear?",
        "Wo hat sie den Bären gesehen?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_hand_checked_pair(name: str) -> None:
    tree, expected_english, expected_german = PAIRS[name]
    sentence = tree if isinstance(tree, Sentence) else Sentence(tree)
    assert english(sentence) == expected_english
    assert german(sentence) == expected_german


@lru_cache(maxsize=1)
def drawn() -> list[tuple[str, str, str]]:
    """(split, English, German) of a small corpus."""
    corpus = generate(SMALL, "en", "de")
    return [(name, *pair) for name, text in corpus.splits.items() for pair in zip(text.source, text.target, strict=True)]


@lru_cache(maxsize=1)
def grown() -> list[tuple[str, str]]:
    """50,000 pairs of every length, before any split."""
    generator, roll = Generator(GrammarConfig()), random.Random(11).random
    return [(english(tree), german(tree)) for tree in (generator.grower.grow(roll) for _ in range(50_000))]


def words(sentence: str) -> int:
    return len(sentence.split())


def test_each_sentence_has_one_translation_in_both_directions() -> None:
    forward, backward = defaultdict(set), defaultdict(set)
    for source, target in grown():
        forward[source].add(target)
        backward[target].add(source)
    assert len(forward) > 45_000
    assert not [(key, values) for key, values in forward.items() if len(values) > 1]
    assert not [(key, values) for key, values in backward.items() if len(values) > 1]


def test_punctuation_is_well_formed() -> None:
    joined = "|".join(word for word in CONJUNCTIONS.values() if word != "während")  # which is a preposition as well
    for pair in grown():
        for sentence in pair:
            assert "  " not in sentence
            assert re.fullmatch(r"[A-ZÄÖÜ][A-Za-zÄÖÜäöüß', ]*[.?]", sentence), sentence
            assert not re.search(r" ,|,,|,[^ ]|,[.?]", sentence), sentence
        assert not re.search(rf"[^,] (?:{joined}) ", pair[1]), pair[1]


def test_a_german_relative_clause_stands_between_commas() -> None:
    """As many relative pronouns in English as relative clauses opened after a comma in German."""
    opened = re.compile(r", (?:(?:in|auf) )?(?:der|die|das|den|dem|denen|dessen|deren) ")
    for source, target in grown():
        relatives = len(re.findall(r" (?:who|whom|whose|which) ", source))
        assert len(opened.findall(target)) >= relatives, (source, target)
        assert target.count(",") >= relatives


def test_splits_are_disjoint_on_both_sides_and_test_sentences_unique() -> None:
    for side in (1, 2):
        where = defaultdict(set)
        for row in drawn():
            where[row[side]].add(row[0])
        assert not [sentence for sentence, splits in where.items() if len(splits) > 1]
        tests = [row[side] for row in drawn() if row[0] != "train"]
        assert len(tests) == len(set(tests)) == 200


def test_lengths_of_the_splits() -> None:
    for split, source, target in drawn():
        if split == "test_long":
            assert SMALL.max_words < min(words(source), words(target))
            assert max(words(source), words(target)) <= SMALL.max_words_long
        else:
            assert max(words(source), words(target)) <= SMALL.max_words


def test_test_long_uses_no_word_and_no_connective_that_training_lacks() -> None:
    known = {word for pair in Generator(SMALL).pairs("train", 30_000) for text in pair for word in vocabulary(text)}
    for split, *pair in drawn():
        if split in ("test_long", "test_comp"):
            assert {word for text in pair for word in vocabulary(text)} <= known


def vocabulary(sentence: str) -> set[str]:
    return set(re.sub(r"[.,?]", "", sentence).lower().split())


def test_held_out_combinations_are_only_in_test_comp() -> None:
    generator = Generator(SMALL)
    held_out, grower = generator.held_out, generator.grower
    assert 50 < len(held_out) < 0.05 * len(Lexicon().combinations) + 50
    for split in ("train", "test_long"):
        for _ in generator.pairs(split, 200):
            assert held_out.isdisjoint(grower.combinations)
    for _ in generator.pairs("test_comp", 30):
        assert not held_out.isdisjoint(grower.combinations)
    nouns, others = {noun for _, noun in held_out}, {word for word, _ in held_out}
    free = set(Lexicon().combinations) - held_out
    assert nouns <= {noun for _, noun in free}
    assert others <= {word for word, _ in free}


def test_deterministic_on_every_platform() -> None:
    rows = [f"{source}\t{target}\n" for split, source, target in drawn() if split == "train"]
    assert len(rows) == 1000
    assert hashlib.sha256("".join(rows).encode()).hexdigest() == FIRST_THOUSAND


def test_another_seed_is_another_corpus_and_a_shorter_one_its_beginning() -> None:
    first = list(Generator(SMALL).pairs("train", 50))
    assert first == [(source, target) for split, source, target in drawn() if split == "train"][:50]
    assert len(set(first) & set(Generator(replace(SMALL, seed=2)).pairs("train", 50))) < 5


def test_both_directions_are_the_same_pairs() -> None:
    forward, backward = generate(SMALL, "en", "de"), generate(SMALL, "de", "en")
    assert (forward.source, backward.source) == ("en", "de")
    for name, text in forward.splits.items():
        assert text.source == backward.splits[name].target
        assert text.target == backward.splits[name].source
        assert len(text) == getattr(SMALL, name)


def test_a_smaller_vocabulary_is_smaller_and_still_enough() -> None:
    small = list(Generator(replace(SMALL, vocabulary=0.3)).pairs("train", 400))
    large = list(Generator(SMALL).pairs("train", 400))
    assert len({w for pair in small for w in vocabulary(pair[1])}) < 0.7 * len({w for p in large for w in vocabulary(p[1])})


def test_the_lexicon_is_large_and_one_word_has_one_sense() -> None:
    verbs, nouns = [verb.name for verb in VERBS], [noun.german for noun in NOUNS.values()]
    assert len(verbs) + len(nouns) + len(ADJECTIVES) > 200
    assert len(verbs) == len(set(verbs))
    assert len(nouns) == len(set(nouns))
    assert len({verb.prefix + verb.infinitive for verb in VERBS}) == len(VERBS)
    assert len({adjective.german for adjective in ADJECTIVES}) == len({a.english for a in ADJECTIVES}) == len(ADJECTIVES)


@pytest.mark.parametrize(("source", "target"), [("en", "fr"), ("de", "de")])
def test_other_languages_are_refused(source: str, target: str) -> None:
    with pytest.raises(UserError, match="grammar corpus has en and de"):
        generate(SMALL, source, target)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UserError, match="held_out"):
        generate(replace(SMALL, held_out=0.0), "en", "de")
    with pytest.raises(UserError, match="max_words"):
        GrammarConfig(max_words=4)
    with pytest.raises(UserError, match="test_comp"):
        GrammarConfig(test_comp=-1)


FIRST_THOUSAND = "66d874cd8ba0e338914b02799a03b777626aa9903d0c0f75c8ac04d9976891e5"
"""SHA-256 of the first thousand training pairs; it changes with every change of the grammar, and says so."""
