"""sacreBLEU's own test sets, from the folder where it keeps them; nothing is downloaded here."""

from pathlib import Path

from data_modules.corpora.files import read_lines
from data_modules.corpora.text import ParallelText, align
from lit_transformer.errors import UserError, nearest


def read_testset(name: str, source: str, target: str) -> ParallelText:
    """Return a test set by sacreBLEU's name, such as wmt14/full, in two languages.

    Its files are <folder>/<name>/<name>.<source>-<target>.src and .ref, as sacreBLEU writes them; `/` in a file's name
    is `_`. Raises UserError for an unknown name or pair of languages, for a set that is not on disk, with the command
    that fetches it, and for one of several references.
    """
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import SACREBLEU_DIR

    if name not in DATASETS:
        raise UserError(f"sacreBLEU has no test set '{name}'{nearest(name, DATASETS)} (sacrebleu --list names them)")
    pair, pairs = f"{source}-{target}", DATASETS[name].langpairs
    if pair not in pairs:
        raise UserError(f"sacreBLEU's test set {name} has no {pair}; it has {', '.join(sorted(pairs))}")
    stem = f"{name.replace('/', '_')}.{pair}"
    folder = Path(SACREBLEU_DIR) / name
    texts, references = folder / f"{stem}.src", sorted(folder.glob(f"{stem}.ref*"))
    if not texts.is_file() or not references:
        raise UserError(
            f"the test set {name} is not in {folder}; fetch it: sacrebleu -t {name} -l {pair} --echo src > {stem}"
        )
    if len(references) > 1:
        known = ", ".join(path.name for path in references)
        raise UserError(f"the test set {name} has several references ({known}); scores here are of one")
    locations = str(texts), str(references[0])
    return align(name, read_lines(texts), read_lines(references[0]), locations, notes=[])
