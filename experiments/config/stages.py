"""A study's stages for DVC: every dvc.yaml is made from one template, and says which code a training depends on."""

from collections.abc import Mapping
from pathlib import Path

from experiments.config.run_config import yaml_text
from experiments.config.study import ENSEMBLES, STUDIES, TUNING, Study, load_study
from experiments.config.tuning import Tuning
from lit_transformer.errors import UserError

DEFAULT_STUDY = "components"
"""The study whose stages stand in the dvc.yaml at the project's root."""
LAYERS_STUDY = "table1"
"""The study of the paper's Table 1, which has no cells."""
TRAINING_CODE = (
    "lit_transformer/attention_maps.py",
    "lit_transformer/batch.py",
    "lit_transformer/components",
    "lit_transformer/config",
    "lit_transformer/errors.py",
    "lit_transformer/export",
    "lit_transformer/flops.py",
    "lit_transformer/fused_module.py",
    "lit_transformer/fusion.py",
    "lit_transformer/initialisation.py",
    "lit_transformer/layers.py",
    "lit_transformer/module.py",
    "lit_transformer/recipes.py",
    "lit_transformer/tokens.py",
    "lit_transformer/training",
    "lit_transformer/transformer.py",
    "data_modules",
    "experiments/commands/train.py",
    "experiments/common",
    "experiments/config",
    "experiments/training",
)
"""The code that decides what a training computes: what the train stage depends on beside its data."""
SCORING_CODE = (
    "lit_transformer",
    "data_modules",
    "experiments/commands/evaluate.py",
    "experiments/common",
    "experiments/config",
    "experiments/scoring",
)
"""The code that decides what a cell scores: what the evaluate stage depends on beside its data and its model."""


def stage_files(name: str) -> dict[Path, str]:
    """Return the path and the text of each file of a study's stages, that of its cells first."""
    if name == LAYERS_STUDY:
        path = STUDIES / name / "dvc.yaml"
        return {path: rendered("table1.template.yaml", path, name)}
    return files_of(load_study(name))


def files_of(study: Study) -> dict[Path, str]:
    """Return the path and the text of each dvc.yaml of a study: its cells', its ensembles', its trials' if it has some.

    A study with factors has variants.yaml beside them: DVC reads there what a variant is.

    Only the default study's is in git: DVC looks at every dvc.yaml that it finds, so that `dvc pull` or `dvc status`
    would go through thousands of stages that nobody has run. The others are written when their study is to run.
    """
    name, folder = study.name, study.folder
    cells = Path("dvc.yaml") if name == DEFAULT_STUDY else folder / "dvc.yaml"
    files = {cells: rendered("dvc.template.yaml", cells, name, text=corpus_text(study), factors=bool(study.design))}
    if study.design:
        files[folder / "variants.yaml"] = variants_yaml(study)
    if study.ensembles:
        joint = folder / ENSEMBLES / "dvc.yaml"
        files[joint] = rendered("ensembles.template.yaml", joint, name)
    if study.tune:
        tuning = folder / TUNING / "dvc.yaml"
        files[tuning] = rendered("tuning.template.yaml", tuning, name, study.tune)
    return files


def outdated(files: Mapping[Path, str]) -> list[Path]:
    """Return those of the files that are missing or hold another text."""
    return [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def write_stages(files: Mapping[Path, str]) -> list[Path]:
    """Write those of the files that are missing or hold another text, and return them."""
    written = outdated(files)
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return written


def variants_yaml(study: Study) -> str:
    """Return the deltas of the variants that factors make, as study.yaml would have them."""
    head = "# Made from the factors of study.yaml by `python -m experiments stages`: do not edit.\n"
    return head + yaml_text({"variants": study.variants})


def corpus_text(study: Study) -> str:
    """Return the folder of a study's text, on which `prepare` depends: from the root, or absolute if it is elsewhere.

    Empty for a corpus that no folder holds, and where there is none of that name: `prepare` says so. Raises UserError
    for a path that DVC would take for a template.
    """
    from data_modules.corpora import text_folder

    try:
        folder = text_folder(study.corpus)
    except UserError:
        folder = None
    if folder is None:
        return ""
    folder, root = folder.resolve(), Path.cwd().resolve()
    if "${" in str(folder):
        raise UserError(f"corpus '{study.corpus}': DVC puts something else for the ${{ in {folder}; rename the folder")
    return str(folder.relative_to(root) if folder.is_relative_to(root) else folder)


def rendered(
    template: str, path: Path, name: str, tune: Tuning | None = None, text: str = "", factors: bool = False
) -> str:
    """Fill a template for a study whose dvc.yaml is at `path`; `text` is that of `corpus_text`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    depth = len(path.parent.parts)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(
        study=str(STUDIES / name / "study.yaml") if depth == 0 else "/".join([".."] * (depth - 3) + ["study.yaml"]),
        root="/".join([".."] * depth) or ".",
        training_code=TRAINING_CODE,
        scoring_code=SCORING_CODE,
        tune=tune,
        text=text,
        factors=factors,
    )
