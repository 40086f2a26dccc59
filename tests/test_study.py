"""Studies: what is in the project loads, and what a user may get wrong is reported in one line."""

import json
import re
import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from experiments.config.cell import Cell
from experiments.config.dvc_yaml import check_read_alike
from experiments.config.run_config import flatten, read_yaml, resolve
from experiments.config.study import (
    KEYS,
    MARGIN,
    SECTIONS,
    STUDIES,
    Look,
    list_studies,
    load_study,
    parse_study,
)
from lit_transformer.errors import UserError

GOOD = {
    "name": "tiny",
    "question": "Is it?",
    "corpus": "grammar",
    "baseline": "base",
    "seeds": [0, 1],
    "base": {"recipe": "paper", "model": {"d_model": 64}, "data": {}, "optim": {}, "trainer": {}, "decode": {}},
    "variants": {"base": {}, "h1": {"model": {"attention": {"heads": 1}}}},
}
PATH = Path("tiny/study.yaml")


@pytest.fixture(autouse=True)
def _at_root(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)


@pytest.mark.parametrize("name", list_studies())
def test_every_study_of_the_project_loads(name: str):
    study = load_study(name)
    assert study.baseline in study.variants
    assert study.describe(study.baseline) == "the baseline"
    assert all(study.describe(v) != "the baseline" for v in study.variants if v != study.baseline)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("components_highest", {"trainer.matmul": "highest"}),
        ("components_bfloat16", {"trainer.precision": "bfloat16"}),
        ("components_quarter", {"optim.steps": 150, "trainer.validate_every": 15}),
        ("components_half", {"optim.steps": 300, "trainer.validate_every": 30}),
    ],
)
def test_studies_to_compare_with_the_default_one_differ_from_it_in_nothing_else(name: str, own: dict[str, object]):
    """What they hold against it would otherwise be of another text, another model or another change."""
    study, default = load_study(name), load_study("components")
    assert flatten(study.base) == flatten(default.base) | own
    assert all(study.variants[variant] == default.variants[variant] for variant in study.variants)
    assert set(study.labels.items()) <= set(default.labels.items())
    if own.keys() <= {"trainer.matmul", "trainer.precision"}:
        assert list(study.variants) == list(default.variants)
        assert (study.seeds, study.looks, study.margin) == (default.seeds, default.looks, default.margin)


def test_the_default_study_holds_what_it_promises():
    study = load_study("components")
    assert len(study.seeds) >= 3
    assert len(study.variants) >= 12


def test_the_code_that_stages_depend_on_is_there():
    for stage in read_yaml(Path("dvc.yaml"))["stages"].values():
        assert [path for path in stage["deps"] if "${" not in path and not Path(path).exists()] == []


def test_the_default_studys_lock_is_not_in_git():
    """Its results are there as evidence; with the lock, `make ablation` on a fresh clone would find nothing to do.

    It cannot be in .gitignore either: DVC refuses to write a lock that git ignores.
    """
    if not Path(".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files", "dvc.lock"], capture_output=True, text=True, check=True).stdout
    assert tracked == "", "git rm --cached dvc.lock"
    ignored = subprocess.run(["git", "check-ignore", "-q", "dvc.lock"], check=False).returncode
    assert ignored == 1


def test_a_cell_is_the_base_and_the_delta_and_the_seed():
    study = parse_study(GOOD, PATH)
    config = study.config("h1", 7)
    assert (config.model.d_model, config.model.attention.heads, config.seed) == (64, 1, 7)
    assert study.describe("h1") == "attention.heads 8 -> 1"


def test_a_run_with_overrides_never_writes_into_the_studys_results():
    study = parse_study(GOOD, PATH)
    plain, changed = Cell(study, "h1", 0), Cell(study, "h1", 0, ("optim.steps=5",))
    assert plain.training_folder == plain.evaluation_folder == STUDIES / "tiny/results/h1/seed0"
    assert plain.model_folder == STUDIES / "tiny/models/h1/seed0"
    assert changed.run_folder != plain.run_folder
    for path in (changed.training_folder, changed.model_folder, changed.evaluation_folder):
        assert path.is_relative_to(changed.run_folder)
    decoded = Cell(study, "h1", 0, ("decode.beam=8",))
    assert decoded.run_folder == plain.run_folder  # the same weights, decoded in another way
    assert (decoded.training_folder, decoded.model_folder) == (plain.training_folder, plain.model_folder)
    assert decoded.evaluation_folder.is_relative_to(decoded.run_folder)


def test_no_sentence_of_a_corpus_is_in_git():
    """Translations are kept by DVC, whatever the corpus: a good one is a line of it."""
    tracked = subprocess.run(["git", "ls-files", str(STUDIES)], capture_output=True, text=True, check=False).stdout
    assert not [path for path in tracked.splitlines() if {"results", "models", "runs"} & set(Path(path).parts)]


def test_the_order_of_overrides_does_not_matter():
    study = parse_study(GOOD, PATH)
    one, two = ("optim.steps=5", "model.dropout=0.2"), ("model.dropout=0.2", "optim.steps=5")
    assert Cell(study, "h1", 0, one).run_folder == Cell(study, "h1", 0, two).run_folder


def test_the_order_of_a_recipe_and_what_changes_it_does() -> None:
    study = parse_study(GOOD, PATH)
    first, last = ("recipe=t2t_v3", "optim.warmup=5"), ("optim.warmup=5", "recipe=t2t_v3")
    assert Cell(study, "h1", 0, first).run_folder != Cell(study, "h1", 0, last).run_folder


def test_a_variant_may_be_a_recipe() -> None:
    study = parse_study({**GOOD, "variants": {"base": {}, "t2t": {"recipe": "t2t_2017"}}}, PATH)
    assert study.config("t2t", 0).model.d_model == 64
    assert "norm" not in study.describe("t2t")
    for change in ("recipe paper -> t2t_2017", "attention.bias False -> True", "optim.smoothing all -> others"):
        assert change in study.describe("t2t")


def test_a_base_names_its_recipe() -> None:
    """DVC must find the key to see it change."""
    base = {key: value for key, value in GOOD["base"].items() if key != "recipe"}
    with pytest.raises(UserError, match="base names no recipe; write `recipe: paper`"):
        parse_study({**GOOD, "base": base}, PATH)
    released = parse_study({**GOOD, "base": {**GOOD["base"], "recipe": "t2t_v3"}}, PATH)
    assert released.config("base", 0).optim.warmup == 8000
    assert released.describe("base") == "the baseline"


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key: str):
    with pytest.raises(UserError, match=f"'{key}' is missing"):
        parse_study({k: v for k, v in GOOD.items() if k != key}, PATH)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_section_is_named(section: str):
    base = {k: v for k, v in GOOD["base"].items() if k != section}
    with pytest.raises(UserError, match=f"no section '{section}'"):
        parse_study({**GOOD, "base": base}, PATH)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"variant": {}}, "unknown key 'variant'; did you mean 'variants'?"),
        ({"baseline": "bse"}, "the baseline 'bse' is no variant; did you mean 'base'?"),
        ({"seeds": [0, 0]}, "each seed may stand once"),
        ({"seeds": 3}, "it must be a list of whole numbers"),
        ({"seeds": []}, "it must be a list of whole numbers"),
        ({"look": {2: 1}}, "unknown key 'look'; did you mean 'looks'?"),
        ({"looks": [2]}, "tiny/study.yaml: looks is [2]; it must map numbers of seeds to shares of alpha"),
        ({"looks": {}}, "looks is {}; it must map"),
        ({"looks": {1: 1.0}}, "looks has [1]; a look needs two seeds or more"),
        ({"looks": {"two": 1.0}}, "looks has ['two']; a look needs two seeds or more"),
        ({"seeds": [0, 1, 2], "looks": {3: 0.5, 2: 0.5}}, "looks has [3, 2]; the numbers of seeds must rise"),
        ({"seeds": [0, 1, 2], "looks": {2: 0.5, 3: 0.4}}, "the shares of looks add up to 0.9; they must add up to 1"),
        ({"seeds": [0, 1, 2], "looks": {2: 1.2, 3: -0.2}}, "looks has the shares [1.2, -0.2]; each must be a number"),
        ({"looks": {2: "all"}}, "looks has the shares ['all']; each must be a number above 0"),
        ({"looks": {2: 0.4, 3: 0.6}}, "the last of looks is at 3 seeds, and seeds holds 2; give it as many"),
        ({"seeds": [0, 1, 2, 3], "looks": {2: 0.4, 3: 0.6}}, "the last of looks is at 3 seeds, and seeds holds 4"),
        ({"margin": 0}, "tiny/study.yaml: margin is 0; it must be a number of BLEU above 0"),
        ({"margin": -1.0}, "margin is -1.0; it must be"),
        ({"margin": "one"}, "margin is 'one'; it must be"),
        ({"labels": {"h2": "two heads"}}, "labels names 'h2', which is no variant"),
        ({"labels": {"h1": 1}}, "the label of h1 is 1; it must be one line of text"),
        ({"labels": {"h1": "base"}}, "base and h1 have the same label, 'base'; call one otherwise"),
        ({"seeds": [0, 2**31]}, "it must be a list of whole numbers below 2^31"),
        ({"labels": {"h1": "a\r\u202eb"}}, "it must be one line of text"),
        ({"question": ["why?"]}, "question is ['why?'], which is not text in YAML; put it in quotes"),
        ({"question": "why?\nhow?"}, "question is 'why?\\nhow?'; it must be one line of text"),
        ({"corpus": 5}, "corpus is 5, which is not text in YAML; put it in quotes"),
        ({"ensembles": [["base"]]}, "ensembles names '['base']', which is no variant"),
        ({True: 1}, "unknown key 'True' (known: name"),
        ({"labels": {1: "one"}}, "labels names '1', which is no variant"),
        ({"variants": {"base": {}, "d.k": {}}}, "'d.k' cannot name a stage"),
        ({"variants": {"base": {}, "v" * 101: {}}}, "cannot name a stage; use letters, digits, _ and -, 100 at most"),
        ({"variants": {"base": {}, "--help": {}}}, "'--help' cannot name a stage"),
        ({"variants": {"base": {}, False: {}}}, "the name False is not text in YAML"),
        ({"variants": {"base": {}, "h1": None}}, "variants.h1 is None"),
        ({"variants": {"base": {}, "h1": {"model": {"head": 1}}}}, "variant h1: unknown key 'model.head'"),
        ({"variants": {"base": {}, "v": {"data": {"vocab_size": 9}}}}, "data.vocab_size differs from the study's base"),
    ],
)
def test_a_bad_study_is_one_line(change: dict, expected: str):
    with pytest.raises(UserError) as caught:
        parse_study({**GOOD, **change}, PATH)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_looks_margin_and_labels_may_be_left_out() -> None:
    plain = parse_study(GOOD, PATH)
    assert (plain.looks, plain.margin, plain.label("h1")) == ((Look(2, 1.0),), MARGIN, "h1")
    assert parse_study({**GOOD, "seeds": [4]}, PATH).looks == ()
    stated = {"seeds": [3, 0, 1], "looks": {2: 0.3, 3: 0.7}, "margin": 2, "labels": {"h1": "a single head"}}
    study = parse_study({**GOOD, **stated}, PATH)
    assert study.looks == (Look(2, 0.3), Look(3, 0.7))
    assert (study.margin, study.label("h1"), study.label("base")) == (2.0, "a single head", "base")
    assert study.config("h1", 0) == plain.config("h1", 0)


def test_unknown_study_and_variant_name_the_nearest():
    with pytest.raises(UserError, match=r"no study 'component'.*did you mean 'components'"):
        load_study("component")
    with pytest.raises(UserError, match="no variant 'no_scalling'; did you mean 'no_scaling'"):
        load_study("components").config("no_scalling", 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensembles": "base"}, "ensembles is 'base'; it must be a list of variants"),
        ({"ensembles": ["h2"]}, "ensembles names 'h2', which is no variant"),
        ({"ensembles": ["h1"], "seeds": [0]}, "joins the seeds of a variant, and seeds holds one"),
        ({"ensembles": ["h1"], "variants": {"base": {}, "h1": {}, "ensembles": {}}}, "a variant is called 'ensembles'"),
    ],
)
def test_ensembles_name_variants_of_several_seeds(changes, message):
    with pytest.raises(UserError, match=message):
        parse_study(GOOD | changes, PATH)
    assert parse_study(GOOD | {"ensembles": ["h1"]}, PATH).ensembles == ["h1"]
    assert parse_study(GOOD, PATH).ensembles == []


@pytest.mark.parametrize(
    ("line", "where", "ours", "dvcs"),
    [
        ("seeds: [010, 1]", "seeds", 8, 10),
        ("seeds: [0o17, 1]", "seeds", "0o17", 15),
        ("question: no", "question", False, "no"),
        ("question: 2026-11-28", "question", "2026-11-28", date(2026, 11, 28)),
        ("variants: {base: {}, off: {model: {d_model: 32}}}", "a key of variants", False, "off"),
        (
            "variants: {base: {}, same: {model: {share_embeddings: off}}}",
            "variants.same.model.share_embeddings",
            False,
            "off",
        ),
    ],
)
def test_what_dvc_would_read_otherwise_is_refused(
    line: str, where: str, ours: object, dvcs: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """YAML 1.1 and 1.2 differ, and both are used: DVC's stages name variants and seeds, the program reads them."""
    key = line.partition(":")[0]
    text = "".join(f"{name}: {json.dumps(value)}\n" for name, value in GOOD.items() if name != key)
    path = tmp_path / STUDIES / "tiny/study.yaml"
    path.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path.write_text(text + line + "\n")
    with pytest.raises(UserError, match=re.escape(f"{where} is {ours!r} as this program reads it and {dvcs!r} as DVC")):
        load_study("tiny")


def test_the_way_out_is_the_name_in_quotes(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("variants: {base: {}, no: {}}\n")
    with pytest.raises(UserError, match='write text in quotes, as "no", a number'):
        check_read_alike(read_yaml(path), path)
    path.write_text('variants: {base: {}, "no": {}}\n')
    check_read_alike(read_yaml(path), path)
    for name in ("null", "~"):
        path.write_text(f"variants: {{base: {{}}, {name}: {{}}}}\n")
        with pytest.raises(UserError, match=r"study\.yaml: a key is null or ~, .*; put the name in quotes"):
            read_yaml(path)


def test_what_dvc_cannot_read_is_one_line(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("seeds: [0, 1:30]\n")
    with pytest.raises(UserError, match="DVC cannot read it: found unexpected ':'"):
        check_read_alike(read_yaml(path), path)


def test_numbers_that_both_read_alike_are_taken(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("a: 10_000\nb: 1e-3\nc: .5\nd: -.inf\ne: .nan\nf: [1, {g: true, h: null, i: 'no', j: 4E-4}]\n")
    check_read_alike(read_yaml(path), path)


@pytest.mark.parametrize("name", list_studies())
def test_dvc_sets_the_settings_that_people_try(name: str, tmp_path: Path) -> None:
    """As `dvc exp run -S` does: it refuses a key that the file does not hold, unless `++` is before it."""
    path = tmp_path / "study.yaml"
    shutil.copy(STUDIES / name / "study.yaml", path)
    apply_overrides(path, ["base.decode.beam=1", "++base.optim.steps=50", "++base.model.dropout=0.2"])
    content = read_yaml(path)
    check_read_alike(content, path)
    config = resolve([content["base"]])
    assert (config.decode.beam, config.optim.steps, config.model.dropout) == (1, 50, 0.2)
