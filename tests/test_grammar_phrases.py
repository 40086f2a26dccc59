"""Pairs derived by hand: word order, the endings of four cases, prepositions and their contractions."""

from dataclasses import replace

import pytest
from grammar_builders import (
    ADJECTIVE,
    BE,
    EVENING,
    HE,
    MYSELF,
    SHE,
    TIME,
    VERB,
    WE,
    Pair,
    check,
    clause,
    np,
    owned,
    prep,
)

from data_modules.corpora.grammar.nouns import NOUNS
from data_modules.corpora.grammar.tree import Clause, Link, Repeated, Sentence

READS = clause("the old doctor", "read", "a book", time=EVENING)
PAIRS: dict[str, Pair] = {
    "verb second": (
        READS, "The old doctor reads a book in the evening.",
        "Der alte Arzt liest am Abend ein Buch.",
    ),
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
    "dative plural, mixed and strong": (
        Clause(np("our mother"), VERB["give"], indirect=np("her old friend+"), object=np("- new picture+")),
        "Our mother gives her old friends new pictures.",
        "Unsere Mutter gibt ihren alten Freunden neue Bilder.",
    ),
    "dative plural without article": (
        clause("the doctor", "thank", "- friendly neighbour+",
               time=prep("at", "an", "dat", "the noon", bare=True)),
        "The doctor thanks friendly neighbours at noon.",
        "Der Arzt dankt freundlichen Nachbarn am Mittag.",
    ),
    "dative plural after dieser": (
        clause("the girl", "wait", place=prep("in front of", "vor", "dat", "this small house+")),
        "The girl waits in front of these small houses.",
        "Das Mädchen wartet vor diesen kleinen Häusern.",
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
        clause(MYSELF, "wash", "the window+", time=Repeated(NOUNS["day"])),
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
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_hand_checked_pair(name: str) -> None:
    check(PAIRS[name])
