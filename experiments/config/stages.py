"""A study's stages for DVC: every dvc.yaml is made from one template, and says which code a training depends on."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from experiments.config.study import ENSEMBLES, Study

DEFAULT_STUDY = "components"
"""The study whose stages stand in the dvc.yaml at the project's root."""


def stage_files(study: Study) -> dict[Path, str]:
    """Return the path and the text of each dvc.yaml of a study: its cells', and its ensembles' where it has some."""
    root = study.name == DEFAULT_STUDY
    cells = Path("dvc.yaml") if root else study.folder / "dvc.yaml"
    files = {cells: _filled("dvc.template.yaml", cells, study)}
    if study.ensembles:
        joint = study.folder / ENSEMBLES / "dvc.yaml"
        files[joint] = _filled("ensembles.template.yaml", joint, study)
    return files


@cache
def training_code() -> tuple[str, ...]:
    """Return the code that decides what a training computes: what the train stage depends on beside its data."""
    return tuple(path for path in _template("dvc.template.yaml")["stages"]["train"]["deps"] if "${" not in path)


def _filled(template: str, path: Path, study: Study) -> str:
    depth = len(path.parent.parts)
    variables = str(study.folder / "study.yaml") if depth == 0 else "/".join([".."] * (depth - 3) + ["study.yaml"])
    text = (Path(__file__).parent / template).read_text(encoding="utf-8")
    return text.replace("@VARS@", variables).replace("@WDIR@", "/".join([".."] * depth) or ".")


def _template(name: str) -> dict[str, Any]:
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text.replace("@VARS@", "study.yaml").replace("@WDIR@", "."))
    return content
