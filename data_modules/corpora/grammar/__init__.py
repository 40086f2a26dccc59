"""The embedded corpus: English-German sentence pairs from a grammar and a lexicon of our own."""

from data_modules.corpora.grammar.generate import generate

__all__ = ["generate"]
