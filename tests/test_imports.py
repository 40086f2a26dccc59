"""Who may import whom, read from the source: the direction that keeps the model free of data, files and trackers."""

import ast
import sys
from pathlib import Path

import pytest
import yaml

from experiments.config.stages import rendered
from experiments.config.tuning import Tuning

ROOT = Path(__file__).parent.parent
ROOMS = ("lit_transformer", "data_modules", "experiments")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
}
MODEL = "lit_transformer"
# What each part of the model may import of the model, beside its own folder: never a later row, nor its own row.
ORDER = [
    {"errors", "tokens"},
    {"config"},
    {"batch", "recipes"},
    {"components", "decoding"},
    {"layers", "initialisation"},
    {"transformer"},
    {"fusion"},
    {"inference", "training"},
    {"attention_maps", "export", "flops", "fused_module", "module", "packing"},
]
# The folders of the studies, from the bottom up: each may import those above it in this list, and itself.
FOLDERS = [
    "config",
    "common",
    "tracking",
    "training",
    "scoring",
    "reporting",
    "exporting",
    "layer_costs",
    "planning",
    "launching",
    "commands",
]
MODEL_LIBRARIES = {"torch", "numpy", "pytorch_lightning", "safetensors"}


def imported(name: str) -> set[str]:
    """Return the dotted names of everything a module imports, at its top or inside its functions."""
    path, found = FILES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            found |= {f"{source}.{alias.name}" if f"{source}.{alias.name}" in FILES else source for alias in node.names}
    return found


def rooms_of(name: str) -> set[str]:
    return {target.partition(".")[0] for target in imported(name)} & set(ROOMS)


def row(name: str) -> int | None:
    """Return the row of a part of the model in ORDER; the package itself and decoding have rules of their own."""
    part = name.split(".")[1] if "." in name else ""
    return next((number for number, parts in enumerate(ORDER) if part in parts), None)


modules = pytest.mark.parametrize("name", FILES)


@modules
def test_rooms_import_in_one_direction(name: str) -> None:
    room = name.partition(".")[0]
    allowed = {MODEL: {MODEL}, "data_modules": {MODEL, "data_modules"}, "experiments": set(ROOMS)}[room]
    assert rooms_of(name) <= allowed, f"{name} imports {rooms_of(name) - allowed}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("data_modules")])
def test_data_know_tokens_batches_and_errors_of_the_model(name: str) -> None:
    ours = {target for target in imported(name) if target.partition(".")[0] == MODEL}
    assert ours <= {"lit_transformer.tokens", "lit_transformer.batch", "lit_transformer.errors"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(MODEL)])
def test_the_model_is_built_upwards(name: str) -> None:
    ours = {target for target in imported(name) if target.partition(".")[0] == MODEL}
    if name == MODEL:
        return  # the package's front gathers the public names
    if name.startswith("lit_transformer.decoding"):
        allowed = (
            "lit_transformer.decoding",
            "lit_transformer.tokens",
            "lit_transformer.batch",
            "lit_transformer.errors",
            "lit_transformer.config",
        )
        assert all(target.startswith(allowed) for target in ours), f"decoding imports {ours}: it may know no model"
        return
    own = row(name)
    assert own is not None, f"{name} has no place in ORDER: give it one"
    for target in ours:
        same_folder = name.split(".")[:2] == target.split(".")[:2] and (FILES[name].parent.name != MODEL)
        other = row(target)
        assert same_folder or (other is not None and other < own), f"{name} imports {target}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(MODEL)])
def test_the_model_needs_few_libraries(name: str) -> None:
    tops = {target.partition(".")[0] for target in imported(name)} - {MODEL}
    assert tops <= MODEL_LIBRARIES | sys.stdlib_module_names
    if "pytorch_lightning" in tops:
        assert name in ("lit_transformer.module", "lit_transformer.fused_module")
    if "safetensors" in tops:
        assert name.startswith("lit_transformer.export")


def test_the_folders_of_the_studies_import_in_one_direction() -> None:
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")}
    assert folders == set(FOLDERS)
    against = []
    for name in FILES:
        own = name.split(".")[1] if name.count(".") >= 2 else ""
        if name.startswith("experiments.") and own in FOLDERS:
            targets = {target.split(".")[1] for target in imported(name) if target.startswith("experiments.")}
            above = [folder for folder in targets & folders if FOLDERS.index(folder) > FOLDERS.index(own)]
            against += [f"{name} imports {folder}" for folder in above]
    assert against == []


@modules
def test_nobody_imports_a_command(name: str) -> None:
    """It is the end of the line: what two of them share stands in a module of its own."""
    assert [target for target in imported(name) if target.startswith("experiments.commands.")] == []


ARGUMENTS_ONLY = {"experiments.common.cli", "lit_transformer"}
"""The one reads the command line and names a cell; the other is passed through to the modules that hold its names."""
SHOWS = ("experiments.tracking", "experiments.reporting")
"""What only shows results: W&B, and its page of attention. A report depends on the latter, a training does not."""
SEARCH = ("lit_transformer.decoding", "lit_transformer.inference")
"""What only translates. `LitTransformer` imports it in `predict_step`, which no training calls."""


def run_by(name: str) -> set[str]:
    """Return the modules of the project that a module's code runs: not what only type checkers read.

    A name that a package imports lazily is resolved to the module that defines it.
    """
    tree = ast.parse(FILES[name].read_text())
    only_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    lazy = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"]
    left_out = {inner for node in [*only_types, *lazy] for inner in ast.walk(node)}
    targets = set()
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                targets.add(whole if whole in FILES else lazy_names(node.module).get(alias.name, node.module))
    packages = {target.rsplit(".", parts)[0] for target in targets for parts in range(1, target.count(".") + 1)}
    return {target for target in targets | packages if target in FILES}


def lazy_names(name: str) -> dict[str, str]:
    """Return the module of each name that a package imports lazily, as listed for type checkers."""
    if name not in FILES or "def __getattr__" not in (source := FILES[name].read_text()):
        return {}
    blocks = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom) and node.module]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def behind(command: str, left_out: tuple[str, ...]) -> set[str]:
    """Follow a command through the project; a module of nothing but a docstring is no code."""
    to_read, reached = {f"experiments.commands.{command}"}, set()
    while to_read:
        reached.add(name := to_read.pop())
        to_read |= {target for target in run_by(name) if not target.startswith(left_out)} - reached
    return {name for name in reached - ARGUMENTS_ONLY if len(ast.parse(FILES[name].read_text()).body) > 1}


@pytest.mark.parametrize(
    ("template", "stage", "command", "left_out"),
    [
        ("dvc", "prepare", "prepare", SHOWS),
        ("dvc", "train", "train", SHOWS + SEARCH),
        ("dvc", "evaluate", "evaluate", SHOWS),
        ("dvc", "report", "report", ("experiments.tracking", "data_modules", "lit_transformer")),
        ("ensembles", "ensemble", "evaluate", SHOWS),
        ("tuning", "rung0", "tune", SHOWS + SEARCH),
        ("tuning", "rung1", "tune", SHOWS + SEARCH),
        ("tuning", "train", "train", SHOWS + SEARCH),
        ("tuning", "evaluate", "evaluate", SHOWS),
    ],
)
def test_a_stage_depends_on_all_code_that_its_result_depends_on(
    template: str, stage: str, command: str, left_out: tuple[str, ...]
) -> None:
    """A report reads numbers that are there already: the model's code decides none of it."""
    text = rendered(
        f"{template}.template.yaml", Path("dvc.yaml"), "components", Tuning((0.001, 0.002), rungs=(0.5, 1.0))
    )
    dependencies = yaml.safe_load(text)["stages"][stage]["deps"]
    paths = {ROOT / path for path in dependencies}
    missing = [name for name in behind(command, left_out) if not {FILES[name], *FILES[name].parents} & paths]
    assert missing == []
    assert all("${" in path or (ROOT / path).exists() for path in dependencies)


@pytest.mark.parametrize("command", ["train", "tune"])
def test_only_predict_step_leads_a_training_to_the_search(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tree = ast.parse(FILES["lit_transformer.module"].read_text())
    (lit,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LitTransformer")
    lit.body = [node for node in lit.body if getattr(node, "name", "") != "predict_step"]
    (tmp_path / "module.py").write_text(ast.unparse(tree))
    monkeypatch.setitem(FILES, "lit_transformer.module", tmp_path / "module.py")
    assert [name for name in behind(command, SHOWS) if name.startswith(SEARCH)] == []


@modules
def test_omegaconf_is_read_in_one_place(name: str) -> None:
    tops = {target.partition(".")[0] for target in imported(name)}
    assert "omegaconf" not in tops or name == "experiments.config.run_config"


@modules
def test_wandb_stays_with_the_studies(name: str) -> None:
    tops = {target.partition(".")[0] for target in imported(name)}
    assert not tops & {"wandb", "dvc", "ray"} or name.startswith("experiments.")


def test_the_reader_of_imports_sees_every_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["import a.b as c", "from lit_transformer import batch", "from . import d", "from .e import f", "def g():"]
    source = "\n".join([*lines, "    from h import i"])
    (tmp_path / "probe.py").write_text(source)
    monkeypatch.setitem(FILES, "room.probe", tmp_path / "probe.py")
    assert imported("room.probe") == {"a.b", "lit_transformer.batch", "room", "room.e", "h"}
