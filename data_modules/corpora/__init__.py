"""Corpora by name: "grammar", "hub:NAME", or a folder of parallel text files."""

from pathlib import Path

from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus

__all__ = ["ParallelText", "RawCorpus", "load_corpus", "text_folder"]


def load_corpus(name: str, config: DataConfig) -> RawCorpus:
    """Load the corpus `name` in the languages of `config`.

    "grammar" is generated; "hub:NAME" comes from Hugging Face `datasets`; any other name is a folder in $LIT_CORPORA,
    or a path to a folder. Raises UserError, one line that names the location and the fix.
    """
    # Imported on demand: no run pays for the imports of a corpus that it does not use.
    if name == "grammar":
        from data_modules.corpora.grammar import generate

        return generate(config.grammar, config.source, config.target)
    folder = text_folder(name)
    if folder is None:
        from data_modules.corpora.hub import load_hub

        return load_hub(name.removeprefix("hub:"), config.source, config.target)
    from data_modules.corpora.files import load_files

    return load_files(folder, config.source, config.target)


def text_folder(name: str) -> Path | None:
    """Return the folder of a corpus's text files, None for one that has none; raises UserError where it is missing."""
    if name == "grammar" or name.startswith("hub:"):
        return None
    from data_modules.corpora.files import corpus_folder

    return corpus_folder(name)
