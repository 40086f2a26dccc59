"""Pairs derived by hand: separable verbs, verb groups, subordinate and relative clauses, pronouns, questions."""

from dataclasses import replace

import pytest
from grammar_builders import (
    ADJECTIVE,
    BE,
    HE,
    MODAL,
    MYSELF,
    OFTEN,
    SHE,
    SLEEPS,
    THEY,
    TIME,
    VERB,
    WE,
    Pair,
    check,
    clause,
    np,
    prep,
)

from data_modules.corpora.grammar.modifiers import HOME, MANNERS
from data_modules.corpora.grammar.tree import Clause, Content, Gap, Link, Pronoun, Relative, Sentence

PAIRS: dict[str, Pair] = {
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
        clause("the boy", "tidy up", "the room", modal=MODAL["must"]),
        "The boy must tidy up the room.",
        "Der Junge muss das Zimmer aufräumen.",
    ),
    "separable matrix verb with an infinitive": (
        clause(SHE, "begin", tense="past", content=Content("to", clause(SHE, "bake", "a cake"))),
        "She began to bake a cake.",
        "Sie hat angefangen, einen Kuchen zu backen.",
    ),
    "modal, plural and negation": (
        clause(THEY, "sell", "our car", modal=MODAL["want"], negated=True),
        "They do not want to sell our car.",
        "Sie wollen unser Auto nicht verkaufen.",
    ),
    "modal, past": (
        clause("the baker", "get up", tense="past", modal=MODAL["have"]),
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
                 opening=Link("although", clause(SHE, "help", "the aunt", modal=MODAL["should"]))),
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
        clause(MYSELF, "know", content=Content("that", clause("the king", "love", "the princess"))),
        "I know that the king loves the princess.",
        "Ich weiß, dass der König die Prinzessin liebt.",
    ),
    "indirect question": (
        clause("the woman", "ask", tense="past",
               content=Content("whether", clause("the bus+", "depart", tense="past"))),
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
            Clause(np("the man", relative=Relative("object", clause(MYSELF, "trust"))), VERB["greet"],
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
               object=np("the hat", relative=Relative("object", clause(HE, "sell", modal=MODAL["want"])))),
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
        Clause(HE, VERB["show"], indirect=MYSELF, object=np("a picture"), time=TIME["today"]),
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
    check(PAIRS[name])
