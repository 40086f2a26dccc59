"""The embedded corpus: properties of what it draws, and of its splits."""

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
from data_modules.corpora.grammar.modifiers import ADJECTIVES, CONJUNCTIONS
from data_modules.corpora.grammar.nouns import NOUNS
from data_modules.corpora.grammar.verbs import VERBS
from lit_transformer.errors import UserError

SMALL = GrammarConfig(train=1000, valid=60, test=60, test_long=40, test_comp=40)


@lru_cache(maxsize=1)
def drawn() -> list[tuple[str, str, str]]:
    """(split, English, German) of a small corpus."""
    corpus = generate(SMALL, "en", "de")
    splits = corpus.splits.items()
    return [(name, *pair) for name, text in splits for pair in zip(text.source, text.target, strict=True)]


@lru_cache(maxsize=1)
def grown() -> list[tuple[str, str]]:
    """50,000 pairs of every length, before any split."""
    generator, roll = Generator(GrammarConfig(vocabulary=1.0, joining=0.4, nesting=0.25)), random.Random(11).random
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
    assert 5 < len(held_out) < 0.09 * len(Lexicon(SMALL.vocabulary).combinations) + 10
    for split in ("train", "test_long"):
        for _ in generator.pairs(split, 200):
            assert held_out.isdisjoint(grower.combinations)
    for _ in generator.pairs("test_comp", 30):
        assert not held_out.isdisjoint(grower.combinations)
    nouns, others = {noun for _, noun in held_out}, {word for word, _ in held_out}
    free = set(Lexicon(SMALL.vocabulary).combinations) - held_out
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
    small = list(Generator(SMALL).pairs("train", 400))
    large = list(Generator(replace(SMALL, vocabulary=1.0)).pairs("train", 400))
    small_words, large_words = (
        {word for _, sentence in pairs for word in vocabulary(sentence)} for pairs in (small, large)
    )
    assert len(small_words) < 0.7 * len(large_words)


def test_the_lexicon_is_large_and_one_word_has_one_sense() -> None:
    verbs, nouns = [verb.name for verb in VERBS], [noun.german for noun in NOUNS.values()]
    assert len(verbs) + len(nouns) + len(ADJECTIVES) > 200
    assert len(verbs) == len(set(verbs))
    assert len(nouns) == len(set(nouns))
    assert len({verb.prefix + verb.infinitive for verb in VERBS}) == len(VERBS)
    assert len({a.german for a in ADJECTIVES}) == len({a.english for a in ADJECTIVES}) == len(ADJECTIVES)


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


FIRST_THOUSAND = "12233101b8ec7a29dd199d9129bfc5313d41d63cf9313115b57dfbe9c402a4c7"
"""SHA-256 of the first thousand training pairs; it changes with every change of the grammar, and says so."""
