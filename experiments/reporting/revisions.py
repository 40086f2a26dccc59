"""A study as it was committed: read through git into a folder of its own, the work tree untouched."""

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from experiments.config.study import STUDIES, Study, load_study
from experiments.reporting.outline import read_outline
from experiments.reporting.results import Results, read_results
from experiments.reporting.summary import Summary, summarise
from lit_transformer.errors import UserError, nearest


@dataclass(frozen=True)
class Side:
    """One of two things that are compared: the name as the user wrote it, and where its files are from."""

    name: str
    origin: str
    study: Study
    results: Results
    summary: Summary


def read_side(name: str, folder: Path) -> Side:
    """Read "study", the files at hand, or "study@revision", which git unpacks into `folder`."""
    plain, _, revision = name.partition("@")
    if "@" not in name:
        return _side(name, "the work tree", load_study(plain))
    commit = _commit(name, revision)
    _unpack(name, plain, commit, folder)
    try:
        study = read_outline(plain, folder)
        return _side(name, _git("show", "-s", "--format=%h of %cs: %s", commit).strip(), study)
    except UserError as error:
        raise UserError(f"{name}: {str(error).replace(f'{folder}/', '')}") from None


def _side(name: str, origin: str, study: Study) -> Side:
    results = read_results(study)
    return Side(name, origin, study, results, summarise(study, results))


def _commit(name: str, revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        raise UserError(f"{name}: git knows no revision '{revision}' here; `git log --oneline` lists them") from None


def _unpack(name: str, study: str, commit: str, folder: Path) -> None:
    """Write study.yaml and results of a commit under `folder`; sentences and cells alike, as they were committed."""
    listed = _git("ls-tree", "-d", "--name-only", commit, f"{STUDIES}/").split()
    known = [path.rpartition("/")[2] for path in listed]
    if study not in known:
        raise UserError(f"{name}: no study '{study}' at that revision{nearest(study, known)} ({', '.join(known)})")
    paths = [str(STUDIES / study / "study.yaml"), str(STUDIES / study / "results")]
    there = _git("ls-tree", "--name-only", commit, *paths).split()
    if paths[1] not in there:
        raise UserError(
            f"{name}: {study} had no results at that revision; `git log -- {paths[1]}` lists those with some"
        )
    packed = subprocess.run(["git", "archive", "--format=tar", commit, *there], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=True, text=True).stdout
    except FileNotFoundError:
        raise UserError("a revision is read through git, which is not installed; name two studies instead") from None
