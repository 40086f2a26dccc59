"""Results of a study wherever they are: at hand, published, or as committed at a revision."""

import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.config.study import STUDIES, Study, load_study
from experiments.reporting.published import Published, parse_published, published_path, read_published
from experiments.reporting.results import Results, has_results, read_results
from experiments.reporting.summary import Summary, summarise
from experiments.reporting.unresolved_study import read_unresolved_study
from lit_transformer.errors import UserError, nearest

PUBLISHED = "published"
AT_HAND = "results at hand"


@dataclass(frozen=True)
class StudyResults:
    """A study and its results: the name as the user wrote it, and where the results come from."""

    name: str
    origin: str
    study: Study
    results: Results
    summary: Summary

    @property
    def corpus_level(self) -> str:
        """The corpus as a level of evidence: "grammar corpus", "Multi30k", "IWSLT", "WMT14 short", "WMT14 full"."""
        return self.summary.corpus_level


def study_results(study: Study) -> StudyResults:
    """Return the results at hand, else the published ones; raises UserError where there are neither."""
    published = None if has_results(study) else read_published(study.name)
    if published is None:
        return _study_results(study.name, AT_HAND, study, read_results(study))
    return _published(study.name, published, ", no results at hand")


def read_study_results(name: str) -> StudyResults:
    """Read "study" (at hand, else published), "study@published" or "study@revision", which is read through git."""
    plain, at, revision = name.partition("@")
    if not at:
        return study_results(load_study(plain))
    if revision == PUBLISHED:
        published = read_published(load_study(plain).name)
        if published is None:
            raise UserError(f"{name}: nothing is published: `python -m experiments publish --study {plain}` does it")
        return _published(name, published)
    return _at_revision(name, plain, _commit(name, revision))


def _at_revision(name: str, study: str, commit: str) -> StudyResults:
    """Read what was published at a commit, else the results that were committed there."""
    origin = _git("show", "-s", "--format=%h of %cs: %s", commit).strip()
    known = [
        path.rpartition("/")[2] for path in _git("ls-tree", "-d", "--name-only", commit, f"{STUDIES}/").splitlines()
    ]
    if study not in known:
        raise UserError(f"{name}: no study '{study}' at that revision{nearest(study, known)} ({', '.join(known)})")
    published, results = published_path(study), STUDIES / study / "results"
    there = _git("ls-tree", "--name-only", commit, str(published), str(results)).splitlines()
    try:
        if str(published) in there:
            content = parse_published(_git("show", f"{commit}:{published}"), study)
            return _study_results(name, origin, content.study, content.results)
        if str(results) not in there:
            raise UserError(
                f"{study} had no results at that revision; `git log -- {published} {results}` lists those with some"
            )
        with TemporaryDirectory() as folder:
            return _committed(name, study, commit, origin, Path(folder))
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def _committed(name: str, study: str, commit: str, origin: str, folder: Path) -> StudyResults:
    """Read the results folder of a commit from before results were published."""
    paths = [str(STUDIES / study / part) for part in ("study.yaml", "results")]
    there = _git("ls-tree", "--name-only", commit, *paths).splitlines()
    packed = subprocess.run(["git", "archive", "--format=tar", commit, *there], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    try:
        unresolved = read_unresolved_study(study, folder)
        return _study_results(name, origin, unresolved, read_results(unresolved))
    except UserError as error:
        raise UserError(str(error).replace(f"{folder}/", "")) from None


def _published(name: str, published: Published, remark: str = "") -> StudyResults:
    origin = f"published on {published.published_at}{remark}"
    return _study_results(name, origin, published.study, published.results)


def _study_results(name: str, origin: str, study: Study, results: Results) -> StudyResults:
    return StudyResults(name, origin, study, results, summarise(study, results))


def _commit(name: str, revision: str) -> str:
    try:
        return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
    except subprocess.CalledProcessError:
        raise UserError(f"{name}: git knows no revision '{revision}' here; `git log --oneline` lists them") from None


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, check=True, text=True).stdout
    except FileNotFoundError:
        raise UserError("a revision is read through git, which is not installed; name two studies instead") from None
