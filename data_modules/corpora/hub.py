"""Parallel text from Hugging Face `datasets`: by short name, by repository, or from a folder on disk.

hub:multi30k                            a short name, see KNOWN
hub:Helsinki-NLP/opus_books:de-en       a repository and its configuration; default: the one that names both languages
hub:/data/corpus                        a data set written by `save_to_disk`, or a folder that `load_dataset` reads
"""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from data_modules.corpora.text import ALIASES, RawCorpus, align, require_train_and_valid
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

KNOWN = ("multi30k", "iwslt14", "iwslt2017", "wmt14")
NOTES = {
    "iwslt14": "not the split of fairseq, on which most papers report: other training pairs, validation and test sets, "
    "so that BLEU does not compare (docs/corpora.md)"
}
"""What a reader of the scores on a known data set has to know."""


def load_hub(name: str, source: str, target: str, revision: str = "") -> RawCorpus:
    """Load a data set that has a translation feature, or one text column per language.

    `validation` becomes "valid"; other splits keep their names. `revision` is a commit, tag or branch, by default the
    newest commit. Raises UserError when the data set cannot be reached or read, lacks a language, has an empty line in
    an evaluation split, or is a folder of another revision.
    """
    data, local = _load(name, source, target, revision), _folder(name)
    commit = _commit(data)
    if local and revision and revision != commit:
        raise UserError(f"hub:{name} is a folder of {commit or 'no known revision'}, not of data.revision {revision}")
    notes = [f"hub:{name} is {NOTES[name]}"] if name in NOTES else []
    splits = {}
    for hub_split, dataset in data.items():
        split = ALIASES.get(str(hub_split), str(hub_split))
        locations = f"hub:{name}/{hub_split}.{source}", f"hub:{name}/{hub_split}.{target}"
        splits[split] = align(split, *_sides(dataset, name, source, target), locations, notes)
    require_train_and_valid(list(splits), f"hub:{name}")
    shown = local.name if local else name  # kept with the results: no absolute path of this machine
    return RawCorpus(f"hub:{shown}", source, target, splits, notes, commit or revision)


def _folder(name: str) -> Path | None:
    """Return the folder on disk that a name means, None for a repository of the hub."""
    local = Path(name.partition(":")[0]).expanduser()
    return local if local.is_dir() else None


def _commit(data: "DatasetDict") -> str:
    """Return the commit that a data set was downloaded from, empty where it does not know.

    The client names a folder of its cache by it; a set that was saved elsewhere may have the addresses of its files.
    """
    folders = {Path(file["filename"]).parent.name for split in data.values() for file in split.cache_files}
    sources = {source for split in data.values() for source in split.info.download_checksums or ()}
    commits = {folder for folder in folders if re.fullmatch(r"[0-9a-f]{40}", folder)}
    commits |= {found[1] for source in sources if (found := re.match(r"hf://datasets/[^@]+@([^/]+)/", source))}
    return commits.pop() if len(commits) == 1 else ""


def _load(name: str, source: str, target: str, revision: str = "") -> "DatasetDict":
    path, _, configuration = name.partition(":")
    local = _folder(name)
    if not local and not _hub_resolves():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the client would retry for half a minute; its cache still works
    import datasets  # imported late: takes more than a second, and reads HF_HUB_OFFLINE

    datasets.disable_progress_bars()
    try:
        if local:
            return _from_disk(local)
        pinned = {"revision": revision} if revision else {}
        return datasets.load_dataset(**_repository(path, configuration, source, target, pinned) | pinned)
    except UserError:
        raise
    except Exception as error:  # the client raises a dozen types that share no base
        raise UserError(_reason(name, path, error)) from error


def _hub_resolves() -> bool:
    """Return whether the hub's host name resolves, or a proxy is configured."""
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(address.hostname, None))
    except OSError:
        return False


def _from_disk(folder: Path) -> "DatasetDict":
    import datasets

    if (folder / "dataset_dict.json").exists():
        return datasets.DatasetDict.load_from_disk(str(folder))
    if (folder / "dataset_info.json").exists() and (folder / "state.json").exists():
        raise UserError(f"{folder} holds one split only; save a DatasetDict with train and validation")
    return datasets.load_dataset(str(folder))


def _repository(path: str, configuration: str, source: str, target: str, pinned: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `load_dataset` for a repository.

    Checked against the repositories in 2026. multi30k has one text column per language and no configurations.
    iwslt2017 is a loading script, which `datasets` 4 no longer runs, so its Parquet conversion is read: one folder per
    configuration, one configuration per direction. wmt14 puts the foreign language first in configuration names.
    iwslt14, by its card and file list, is a script too, with both directions in one folder: 171,721 training pairs,
    887 of dev2010, and 4,698 of tst2010 to tst2012 as one test set.
    """
    match path:
        case "multi30k":
            return {"path": "bentrevett/multi30k"}
        case "iwslt14":
            return {
                "path": "bbaaaa/iwslt14-de-en",
                "revision": "refs/convert/parquet",
                "data_dir": configuration or "de-en",
            }
        case "iwslt2017":
            folder = configuration or f"iwslt2017-{source}-{target}"
            return {"path": "IWSLT/iwslt2017", "revision": "refs/convert/parquet", "data_dir": folder}
        case "wmt14":
            foreign = target if source == "en" else source
            return {"path": "wmt/wmt14", "name": configuration or f"{foreign}-en"}
        case _:
            return {"path": path, "name": configuration or _configuration(path, source, target, pinned)}


def _configuration(path: str, source: str, target: str, pinned: Mapping[str, str]) -> str:
    """Return the name of the configuration that names both languages, or of the only one."""
    import datasets

    names = datasets.get_dataset_config_names(path, **pinned)
    if len(names) == 1:
        return str(names[0])
    matching = [name for name in names if {source, target} <= set(re.split(r"[^A-Za-z]+", name))]
    if len(matching) != 1:
        shown = ", ".join((matching or names)[:8])
        raise UserError(f"hub:{path} has {len(names)} configurations ({shown}, ...); choose one: hub:{path}:NAME")
    return str(matching[0])


def _sides(dataset: "Dataset", name: str, source: str, target: str) -> tuple[list[str], list[str]]:
    """Return the sentences of one split in both languages; a missing value becomes an empty line."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table: pa.Table = dataset.with_format("arrow")[:]
    structs = [column for column in table.column_names if pa.types.is_struct(table.schema.field(column).type)]
    fields = {column: [field.name for field in table.schema.field(column).type] for column in structs}
    for column, languages in fields.items():
        if source in languages and target in languages:
            return _texts(pc.struct_field(table[column], source)), _texts(pc.struct_field(table[column], target))
    if source in table.column_names and target in table.column_names:
        return _texts(table[source]), _texts(table[target])
    seen = [f"columns {', '.join(table.column_names)}"]
    seen += [f"{column} holds {', '.join(names)}" for column, names in fields.items()]
    raise UserError(
        f"hub:{name} has no text in both '{source}' and '{target}' ({'; '.join(seen)}); "
        "set data.source and data.target to two of these"
    )


def _texts(column: Any) -> list[str]:
    return [text or "" for text in column.to_pylist()]


def _reason(name: str, path: str, error: Exception) -> str:
    """Return the one-line error for a data set that could not be loaded."""
    files = "put train.en, train.de, ... into a folder of LIT_CORPORA and name that folder instead"
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    known = f"; short names: {', '.join(KNOWN)}" if path not in KNOWN else ""
    causes = [error, error.__cause__, error.__context__]
    network = ("Connect", "Offline", "Timeout", "Transport", "LocalEntryNotFound", "ProxyError", "MaxRetry")
    if any(isinstance(cause, ConnectionError | TimeoutError) or _is_any(cause, network) for cause in causes):
        return f"hub:{name}: no network, or the Hugging Face hub cannot be reached ({first}); {files}"
    return f"hub:{name} cannot be loaded ({first}){known}; or {files}"


def _is_any(error: BaseException | None, names: tuple[str, ...]) -> bool:
    return error is not None and any(name in cls.__name__ for cls in type(error).__mro__ for name in names)
