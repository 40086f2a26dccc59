"""Who may import whom, read from the source: the direction that keeps the model free of data, files and trackers."""

import ast
import sys
from pathlib import Path

import pytest
import yaml

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
    {"errors"},
    {"config"},
    {"batch", "recipes"},
    {"components"},
    {"layers", "initialisation"},
    {"transformer"},
    {"training"},
    {"attention_maps", "export", "flops", "module", "packing"},
]
# What each folder of the studies may import of the other folders.
FOLDERS = {
    "analysis": set(),
    "figures": {"analysis"},
    "pages": {"analysis", "figures"},
    "training": set(),
    "planning": {"analysis"},
    "exporting": set(),
    "launching": {"planning"},
    "layer_costs": {"analysis", "figures", "pages"},
}
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
def test_data_know_batches_and_errors_of_the_model(name: str) -> None:
    ours = {target for target in imported(name) if target.partition(".")[0] == MODEL}
    assert ours <= {"lit_transformer.batch", "lit_transformer.errors"}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith(MODEL)])
def test_the_model_is_built_upwards(name: str) -> None:
    ours = {target for target in imported(name) if target.partition(".")[0] == MODEL}
    if name == MODEL:
        return  # the package's front gathers the public names
    if name.startswith("lit_transformer.decoding"):
        allowed = (
            "lit_transformer.decoding",
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
        assert name == "lit_transformer.module"
    if "safetensors" in tops:
        assert name.startswith("lit_transformer.export")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_of_the_studies_knows_what_it_builds_on(folder: str) -> None:
    names = [name for name in FILES if name.startswith(f"experiments.{folder}.")]
    folders = {path.name for path in (ROOT / "experiments").iterdir() if path.is_dir()}
    known = {target.split(".")[1] for name in names for target in imported(name) if target.startswith("experiments.")}
    assert names
    assert known & folders - {folder} <= FOLDERS[folder]


@modules
def test_nobody_imports_a_command(name: str) -> None:
    """It is the end of the line: what two of them share stands in a module of its own."""
    of_ours = {target for target in imported(name) if target in FILES and target.count(".") == 1}
    assert [target for target in of_ours if '__name__ == "__main__"' in FILES[target].read_text()] == []


def test_a_report_is_stale_when_code_that_writes_it_has_changed() -> None:
    """But for what only reads arguments and files."""
    written_by, found = {"experiments.report"}, set()
    while written_by:
        found.add(name := written_by.pop())
        written_by |= {
            target for target in imported(name) if target in FILES and target.startswith("experiments.")
        } - found
    found -= {"experiments.cli", "experiments.files", "experiments.run_config"}
    deps = [ROOT / path for path in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["report"]["deps"]]
    assert [name for name in found if not {FILES[name], *FILES[name].parents} & set(deps)] == []


@modules
def test_omegaconf_is_read_in_one_place(name: str) -> None:
    tops = {target.partition(".")[0] for target in imported(name)}
    assert "omegaconf" not in tops or name == "experiments.run_config"


@modules
def test_wandb_stays_with_the_studies(name: str) -> None:
    tops = {target.partition(".")[0] for target in imported(name)}
    assert not tops & {"wandb", "dvc", "ray"} or name.startswith("experiments.")


@modules
def test_no_file_holds_two_ideas(name: str) -> None:
    assert len(FILES[name].read_text().splitlines()) <= 300


def test_the_reader_of_imports_sees_every_form(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ["import a.b as c", "from lit_transformer import batch", "from . import d", "from .e import f", "def g():"]
    source = "\n".join([*lines, "    from h import i"])
    (tmp_path / "probe.py").write_text(source)
    monkeypatch.setitem(FILES, "room.probe", tmp_path / "probe.py")
    assert imported("room.probe") == {"a.b", "lit_transformer.batch", "room", "room.e", "h"}
