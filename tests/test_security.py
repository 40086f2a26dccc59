"""What docs/security.md promises: names reach no shell, files are data, pages show text, keys stay where they are."""

import ast
import csv
import io
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments.config.run_config import resolve
from experiments.config.stages import rendered, stage_files
from experiments.config.study import load_study
from experiments.config.tuning import Tuning
from experiments.reporting.results import read_results
from experiments.reporting.study_report import report
from experiments.reporting.summary import summarise
from experiments.reporting.tables import comma_separated
from lit_transformer.errors import UserError
from tests.synthetic_study import write_study
from tests.tiny_study import study_yaml

ROOT = Path(__file__).parent.parent
CODE = [
    path
    for path in (ROOT / line for line in subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split())
    if "tests" not in path.relative_to(ROOT).parts
]  # fmt: skip
HOSTILE = (
    "$(touch x)", "`touch x`", "a;touch x", "a b", "a'b", 'a"b', "a\nb", "../up", "/abs", "-x", "--help", "", "a|b",
    "*", "~", "${HOME}",
)  # fmt: skip
MARKUP = '=1+1 <script>alert(1)</script> </title> \\input{x} & "quoted"'


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["name", "variants"])
def test_a_name_that_means_something_to_a_shell_or_a_path_is_refused(study_path: Path, where: str, name: str) -> None:
    study_path.write_text(study_yaml(json.dumps({"name": name} if where == "name" else {"variants": {name: {}}})))
    with pytest.raises(UserError) as refusal:
        load_study("tiny")
    assert str(refusal.value).isprintable()
    assert "cannot name a stage" in str(refusal.value)


def test_a_stage_puts_nothing_of_a_study_into_its_command_but_names_seeds_and_numbers(study_path: Path) -> None:
    tune = Tuning(values=(0.1, 0.2))
    templates = sorted((ROOT / "experiments/config").glob("*.template.yaml"))
    assert len(templates) == 4
    for template in templates:
        stages = yaml.safe_load(
            rendered(template.name, study_path.with_name("dvc.yaml").relative_to(Path.cwd()), "tiny", tune)
        )
        for stage in stages["stages"].values():
            command = stage.get("cmd") or stage["do"]["cmd"]
            inserted = set(re.findall(r"\$\{([^}]*)\}", command))
            assert inserted <= {"name", "item.variant", "item.seed", "item.value"}
            assert not re.search(r"[`;&|<>]|\$\(", re.sub(r"\$\{[^}]*\}", "", command))


def test_a_corpus_folder_that_dvc_would_take_for_a_template_is_refused(study_path: Path) -> None:
    Path("${name}").mkdir()
    study_path.write_text(study_yaml("{corpus: './${name}'}"))
    with pytest.raises(UserError, match="DVC puts something else for"):
        stage_files("tiny")


def test_a_setting_takes_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret" * 8)
    with pytest.raises(UserError) as refusal:
        resolve([{"data": {"source": "${oc.env:WANDB_API_KEY}"}}])
    assert "secret" not in str(refusal.value)
    assert "which refers to another value; write the value itself" in str(refusal.value)


def test_no_code_reads_a_pickle_or_runs_a_shell() -> None:
    """Every call that could, of torch, numpy, yaml, subprocess and Python itself, is made so that it cannot."""
    calls = []
    for source in CODE:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                calls.append((ast.unparse(node.func), given, f"{source.relative_to(ROOT)}:{node.lineno}"))
    assert len(calls) > 5000
    loads = [(given, where) for name, given, where in calls if name == "torch.load"]
    assert len(loads) >= 3
    for given, where in loads:
        assert given.get("weights_only") == "True", where
    forbidden = (
        r"(c?[Pp]ickle|dill|joblib|marshal|shelve)\.\w*|eval|exec|os\.(system|popen)|yaml\.(load|unsafe_load|full_load)"
    )
    for name, given, where in calls:
        assert not re.fullmatch(forbidden, name), where
        assert given.get("shell", "False") == "False", where
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("trust_remote_code", "False") == "False", where


def test_text_of_a_study_is_text_on_its_page_and_in_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_study(tmp_path, names=["base", "one_head"])
    path = tmp_path / "experiments/studies/made_up/study.yaml"
    text = json.dumps(MARKUP)
    content = path.read_text().replace("What is each part of the Transformer worth?", text)
    content = content.replace("corpus: grammar", f"corpus: {text}")
    path.write_text(f"{content}labels: {{one_head: {text}, base: '=2+2'}}\n")
    for record in path.parent.rglob("training.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"machine": MARKUP, "corpus": MARKUP}))
    report(load_study("made_up"), [])
    folder = path.parent / "report"
    pages = {page.name: page.read_text() for page in folder.iterdir() if page.suffix in (".html", ".svg", ".md")}
    assert {"index.html", "table.md", "forest.svg"} <= set(pages)
    for page in pages.values():
        assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in pages["index.html"]
    assert "&lt;script>alert" in pages["table.md"]
    comments = [line for line in (folder / "table.tex").read_text().splitlines() if "input{x}" in line]
    assert comments
    assert all(line.startswith("% ") for line in comments)


def test_no_cell_of_a_table_is_a_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = write_study(tmp_path, names=["base", "one_head", "no_positions"])
    rows = list(csv.reader(io.StringIO(comma_separated(summarise(study, read_results(study), [])))))
    cells = [cell for row in rows for cell in row]
    assert len(cells) > 100
    for cell in cells:
        assert not re.match(r"[=+@\t\r]|-(?![\d.])", cell), cell


def test_line_breaks_and_control_characters_stay_out_of_terminals_and_logs() -> None:
    assert str(UserError("a\nb\x1b[2J\u202ec\udc80")) == "a b [2J c "
