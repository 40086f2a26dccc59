"""The embedded corpus: English-German sentence pairs generated from a grammar and a lexicon."""

from data_modules.corpora.grammar.generate import generate

__all__ = ["generate"]
