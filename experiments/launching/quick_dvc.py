"""`dvc`, without what it does over and over where a pipeline has many stages; it takes dvc's own arguments.

    python -m experiments.launching.quick_dvc --wait-for-lock repro -s train@base-0

Measured with 1,000 cells (docs/scale.md): for each stage DVC parses the whole dvc.lock, writes it anew in place, so
that a kill in that time loses every record in it, and searches all of study.yaml; for a status it hashes the same
folders for each stage. Here a stage's record is cut out of dvc.lock and put back as text, whole or not at all;
study.yaml is read once; for a status a file is hashed once. What DVC decides and what it writes are the same, to the
byte (a test compares both). It reaches into DVC's own functions, of the version pinned in constraints.txt; plain `dvc`
works on the same files.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

STAGE = re.compile(r"^  (\S+):\n", re.MULTILINE)
PART = re.compile(r"^    \w+:", re.MULTILINE)
HEAD = "schema: '2.0'\nstages:\n"


class Records(Mapping[str, dict[str, Any]]):
    """The stages of a dvc.lock: text each, parsed when it is asked for."""

    def __init__(self, text: str) -> None:
        """`text` is what DVC has written, from HEAD on."""
        starts = [(found[1], found.start()) for found in STAGE.finditer(text, len(HEAD))]
        ends = [*(start for _, start in starts[1:]), len(text)]
        self.texts = {name: text[start:end] for (name, start), end in zip(starts, ends, strict=False)}

    def __getitem__(self, name: str) -> dict[str, Any]:
        lines = self.texts[name].partition("\n")[2]
        cuts = [found.start() for found in PART.finditer(lines)]
        parts = [lines[start:end] for start, end in zip(cuts, [*cuts[1:], len(lines)], strict=True)]
        return {key: value for part in parts for key, value in _parsed(part).items()}

    def __contains__(self, name: object) -> bool:
        return name in self.texts

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def text(self) -> str:
        """Return the whole file."""
        return HEAD + "".join(self.texts.values())


@cache
def _parsed(part: str) -> dict[str, Any]:
    """Parse a part of a record; most stages share the part that names the code."""
    from dvc.utils.serialize._yaml import parse_yaml

    return dict(parse_yaml(part, "dvc.lock"))


def read(path: Path) -> Records | None:
    """Return the records of a lock file, None where it is not of the form that DVC writes for stages alone."""
    text = path.read_text(encoding="utf-8") if path.exists() else HEAD
    return Records(text) if text.startswith(HEAD) else None


def write(path: Path, stages: Mapping[str, Any]) -> None:
    """Put stages' records into a lock file, each in its old place or at the end, as DVC does."""
    from dvc.utils.serialize._yaml import dumps_yaml

    records = read(path)
    assert records is not None
    for name, record in stages.items():
        text = "".join(f"  {line}\n" for line in dumps_yaml({name: record}).splitlines())
        records.texts[name] = text
    # As common.io does, whose import would bring torch into every DVC process: twice the time of an empty cell.
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "w", encoding="utf-8") as handle:
        handle.write(records.text())
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(beside, path)


def remember(hashes: bool) -> None:
    """Let DVC's functions read and write as told above; `hashes` too, while no stage runs that could change a file."""
    from dvc import dvcfile, output
    from dvc.dependency import param
    from dvc.stage import serialize

    load, dump_stages, get_hash = dvcfile.Lockfile._load, dvcfile.Lockfile.dump_stages, output.Output.get_hash
    read_file = param.read_param_file

    def quick_load(lock: Any, **options: Any) -> tuple[Any, str]:
        found = None if options else read(Path(lock.path))
        return load(lock, **options) if found is None else ({"schema": "2.0", "stages": found}, "")

    def quick_dump(lock: Any, stages: Any, **options: Any) -> None:
        if read(Path(lock.path)) is None:
            dump_stages(lock, stages, **options)
            return
        found: dict[str, Any] = {}
        for stage in stages:
            found.update(serialize.to_lockfile(stage, **options))
        write(Path(lock.path), found)
        lock.repo.scm_context.track_file(lock.relpath)

    contents: dict[tuple[str, int], Any] = {}

    def quick_read(fs: Any, path: str, keys: Any = None, flatten: bool = False, **options: Any) -> Any:
        if not (keys and flatten) or options:
            return read_file(fs, path, keys, flatten, **options)
        file = (path, Path(path).stat().st_mtime_ns)
        if file not in contents:
            contents[file] = param.load_path(path, fs)
        found = {key: _at(contents[file], key) for key in keys}
        return {key: value for key, value in found.items() if value is not MISSING}

    known: dict[tuple[str, str, bool], Any] = {}

    def quick_hash(item: Any) -> Any:
        key = (item.fs_path, item.hash_name, item.use_cache)
        if key not in known:
            known[key] = get_hash(item)
        return known[key]

    dvcfile.Lockfile._load, dvcfile.Lockfile.dump_stages = quick_load, quick_dump
    param.read_param_file = quick_read
    if hashes:
        output.Output.get_hash = quick_hash


MISSING = object()


def _at(content: Any, key: str) -> Any:
    for word in key.split("."):
        if not isinstance(content, dict) or word not in content:
            return MISSING
        content = content[word]
    return content


def main() -> None:
    """Be `dvc`."""
    remember(hashes="status" in sys.argv)
    from dvc.cli import main as dvc

    sys.exit(dvc(sys.argv[1:]))


if __name__ == "__main__":
    main()
