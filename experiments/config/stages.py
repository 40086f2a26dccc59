"""A study's stages for DVC: every dvc.yaml is made from one template, and says which code a training depends on."""

from functools import cache
from pathlib import Path

import yaml

from experiments.config.study import ENSEMBLES, STUDIES, TUNING, load_study
from experiments.config.tuning import Tuning

DEFAULT_STUDY = "components"
"""The study whose stages stand in the dvc.yaml at the project's root."""


LAYERS_STUDY = "table1"
"""The study of the paper's Table 1, which has no cells."""


def stage_files(name: str) -> dict[Path, str]:
    """Return the path and the text of each dvc.yaml of a study: its cells', its ensembles', its trials' if it has some.

    Only the default study's is in git: DVC looks at every dvc.yaml that it finds, so that `dvc pull` or `dvc status`
    would go through thousands of stages that nobody has run. The others are written when their study is to run.
    """
    folder = STUDIES / name
    if name == LAYERS_STUDY:
        return {folder / "dvc.yaml": _filled("table1.template.yaml", folder / "dvc.yaml", name)}
    cells = Path("dvc.yaml") if name == DEFAULT_STUDY else folder / "dvc.yaml"
    files = {cells: _filled("dvc.template.yaml", cells, name)}
    study = load_study(name)
    if study.ensembles:
        joint = folder / ENSEMBLES / "dvc.yaml"
        files[joint] = _filled("ensembles.template.yaml", joint, name)
    if study.tune:
        tuning = folder / TUNING / "dvc.yaml"
        files[tuning] = _with_rungs(_filled("tuning.template.yaml", tuning, name), study.tune)
    return files


def write_stages(name: str) -> list[Path]:
    """Write the dvc.yaml of a study where it is missing or not what the template gives; return those written."""
    written = []
    for path, text in stage_files(name).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


@cache
def training_code() -> tuple[str, ...]:
    """Return the code that decides what a training computes: what the train stage depends on beside its data."""
    text = _template("dvc.template.yaml").replace("@VARS@", "study.yaml").replace("@WDIR@", ".")
    dependencies: list[str] = yaml.safe_load(text)["stages"]["train"]["deps"]
    return tuple(path for path in dependencies if "${" not in path)


def _filled(template: str, path: Path, name: str) -> str:
    depth = len(path.parent.parts)
    variables = str(STUDIES / name / "study.yaml") if depth == 0 else "/".join([".."] * (depth - 3) + ["study.yaml"])
    return _template(template).replace("@VARS@", variables).replace("@WDIR@", "/".join([".."] * depth) or ".")


def _with_rungs(text: str, tune: Tuning) -> str:
    """Write the stage of a rung once for each, and the lines on all rungs in the stages that follow."""
    head, rest = text.split("  # for each rung\n")
    rung, cells = rest.split("  # once\n")
    stages = []
    for number, share in enumerate(tune.rungs):
        before = tune.rungs[number - 1] if number else None
        lines = [line for line in rung.splitlines(True) if before or not line.endswith("# after the first\n")]
        filled = "".join(lines).replace(" # after the first", "").replace("@BEFORE@", str(before))
        stages.append(filled.replace("@RUNG@", str(number)).replace("@SHARE@", str(share)).replace("@KEY@", tune.key))
    for line in [line for line in cells.splitlines(True) if line.endswith("# of each rung\n")]:
        each = (line.replace(" # of each rung", "").replace("@SHARE@", str(share)) for share in tune.rungs)
        cells = cells.replace(line, "".join(each))
    return head + "".join(stages) + cells


def _template(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
