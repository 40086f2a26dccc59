"""Corpora by name: "grammar", "hub:NAME", or a folder of parallel text files."""

from pathlib import Path

from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus
from lit_transformer.errors import UserError

__all__ = ["ParallelText", "RawCorpus", "corpus_from", "load_corpus", "text_folder"]


def load_corpus(name: str, config: DataConfig) -> RawCorpus:
    """Load the corpus `name` in the languages of `config`.

    "grammar" is generated; "hub:NAME" comes from Hugging Face `datasets`; any other name is a folder in $LIT_CORPORA,
    or a path to a folder. Raises UserError, one line that names the location and the fix.
    """
    if config.revision and not name.startswith("hub:"):
        raise UserError(
            f"data.revision is '{config.revision}', and the corpus '{name}' is no data set of the hub; leave it out"
        )
    # Imported on demand: no run pays for the imports of a corpus that it does not use.
    if name == "grammar":
        from data_modules.corpora.grammar import generate

        return generate(config.grammar, config.source, config.target)
    folder = text_folder(name)
    if folder is None:
        from data_modules.corpora.hub import load_hub

        return load_hub(name.removeprefix("hub:"), config.source, config.target, config.revision)
    from data_modules.corpora.files import load_files

    return load_files(folder, config.source, config.target)


def corpus_from(start: Path, name: str) -> str:
    """Return the name of a corpus, a relative path to a folder in it taken from the folder `start`."""
    from data_modules.corpora.files import is_path

    if name.startswith("hub:"):
        folder = start / Path(name.removeprefix("hub:")).expanduser()
        return f"hub:{folder}" if folder.is_dir() else name
    return str(start / Path(name).expanduser()) if is_path(name) else name


def text_folder(name: str) -> Path | None:
    """Return the folder of a corpus's text files, None for one that has none; raises UserError where it is missing."""
    if name == "grammar" or name.startswith("hub:"):
        return None
    from data_modules.corpora.files import corpus_folder

    return corpus_folder(name)
