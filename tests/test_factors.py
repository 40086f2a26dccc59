"""Factors: the cells they make, what a fraction cannot tell apart, mistakes, and the stages of such a study."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from experiments.commands import plan
from experiments.config.factors import Design, parse_design, roman
from experiments.config.run_config import flatten, read_yaml
from experiments.config.stages import stage_files, write_stages
from experiments.config.study import load_study, parse_study
from lit_transformer.errors import UserError

PATH = Path("tiny/study.yaml")
PRE, NO_WARMUP = {"model": {"norm": {"placement": "pre"}}}, {"optim": {"warmup": 0, "schedule": "linear"}}
GOOD: dict[str, Any] = {
    "name": "tiny",
    "question": "Is it?",
    "corpus": "grammar",
    "baseline": "base",
    "seeds": [0, 1, 2],
    "base": {"recipe": "paper", "model": {"d_model": 64}, "data": {}, "optim": {}, "trainer": {}, "decode": {}},
    "factors": {
        "norm": {"post": {}, "pre": PRE},
        "warmup": {"warm": {}, "cold": NO_WARMUP},
        "drop": {"d1": {}, "d0": {"model": {"dropout": 0.0}}, "d3": {"model": {"dropout": 0.3}}},
    },
}


def letters(fraction: Mapping[str, str] | None, names: str = "ABCDEF") -> Design:
    factors = {name: {f"{name}0": {}, f"{name}1": {"model": {name: 1}}} for name in names}
    design = parse_design({"factors": factors, "fraction": fraction}, "base", PATH)
    assert design
    return design


def test_all_combinations_are_variants_with_readable_names() -> None:
    study = parse_study(GOOD, PATH)
    assert list(study.variants) == [
        "base", "d0", "d3", "cold", "pre", "cold+d0", "cold+d3", "pre+d0", "pre+d3", "pre+cold", "pre+cold+d0",
        "pre+cold+d3",
    ]  # fmt: skip
    assert study.variants["base"] == {}
    assert flatten(study.variants["pre+cold+d3"]) == flatten(PRE) | flatten(NO_WARMUP) | {"model.dropout": 0.3}
    config = study.config("pre+cold+d3", 0)
    assert (config.model.norm.placement.name, config.optim.warmup, config.model.dropout) == ("pre", 0, 0.3)
    assert study.design
    assert study.design.description() == ["Factors: 3, all 2 x 2 x 3 = 12 combinations of their levels."]


def test_labels_are_of_factors_and_levels() -> None:
    study = parse_study({**GOOD, "labels": {"pre": "pre-norm", "norm": "norm placement", "base": "the base"}}, PATH)
    assert study.label("pre+cold") == "pre-norm, cold"
    assert study.label("base") == "the base"


def test_a_fraction_has_the_papers_defining_relation() -> None:
    """The 2^(6-2) design of Box, Hunter and Hunter: E = ABC, F = BCD; resolution IV, 16 runs."""
    design = letters({"E": "A * B * C", "F": "B*C*D"})
    assert len(design.cells) == 16
    assert next(iter(design.cells)) == "base"
    assert design.resolution == 4
    assert [design.title(word) for word in design.words] == ["A x B x C x E", "A x D x E x F", "B x C x D x F"]
    assert [design.title(alias) for _, alias in design.aliases(frozenset("AB"))] == [
        "C x E",
        "A x C x D x F",
        "B x D x E x F",
    ]
    text = " ".join(design.description())
    assert "16 of the 64 combinations" in text
    assert "resolution IV, I = A x B x C x E = A x D x E x F = B x C x D x F" in text
    assert "A x E = B x C = D x F" in text
    assert [roman(n) for n in (3, 4, 5, 6, 9)] == ["III", "IV", "V", "VI", "IX"]


@pytest.mark.parametrize("fraction", [{"E": "A*B*C", "F": "B*C*D"}, {"F": "A*B*C*D*E"}, {"E": "A*B*C*D"}])
def test_aliases_are_what_the_cells_cannot_tell_apart(fraction: dict[str, str]) -> None:
    """Brute force over the columns of levels -1 and 1: equal or opposite products are aliases, with that sign."""
    design = letters(fraction, "ABCDEF" if "F" in fraction else "ABCDE")
    names = [factor.name for factor in design.factors]
    signs = np.array([[-1 if cell[name].endswith("0") else 1 for name in names] for cell in design.cells.values()])
    column = {
        frozenset(effect): np.prod([signs[:, names.index(name)] for name in effect], axis=0)
        for size in range(1, len(names) + 1)
        for effect in combinations(names, size)
    }
    for effect, own in column.items():
        expected = {
            (sign, other)
            for other, values in column.items()
            for sign in (1, -1)
            if other != effect and (values == sign * own).all()
        }
        assert {alias for alias in design.aliases(effect) if alias[1]} == expected


def test_the_study_of_context_is_a_half_of_six_switches() -> None:
    study = load_study("context")
    design = study.design
    assert design
    assert len(design.factors) == 6
    assert len(study.variants) == 32
    assert design.resolution == 6
    base, default = flatten(study.base), flatten(load_study("components").base)
    assert base == default
    own = [key for factor in design.factors for delta in factor.levels.values() for key in flatten(delta)]
    assert {key.split(".")[1] for key in own} == {
        "norm", "warmup", "residual", "attention", "dropout", "label_smoothing"
    }  # fmt: skip


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"variants": {"base": {}}}, "variants cannot stand beside factors"),
    ({"looks": {3: 1.0}}, "looks cannot stand beside factors"),
    ({"tune": {"values": [0.1, 0.2]}}, "tune cannot stand beside factors"),
    ({"ensembles": ["base"]}, "ensembles cannot stand beside factors"),
    ({"factors": None, "variants": {"base": {}}, "fraction": {"a": "b"}}, "fraction is a part of the cells of factors"),
    ({"factors": {"norm": {"a": {}, "b": PRE}}}, "factors must hold two factors or more"),
    ({"factors": ["norm"]}, "factors must hold two factors or more"),
    ({"factors": {**GOOD["factors"], "x": {"one": {}}}}, "factors.x needs two levels or more"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b+c": {}}}}, "factors.x: 'b+c' cannot be a part"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b": 3}}}, "factors.x.b is 3; it must hold keys"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "pre": {}}}}, "the level 'pre' is the name of a level of norm"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "base": {}}}}, "the level 'base' is the name of the baseline"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b": PRE}}}, "factors.norm and factors.x both set model.norm.pl"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b": {"recipe": "t2t_v3"}}}}, "factors.x sets the recipe"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b": {"model": {"d_modl": 3}}}}}, "unknown key 'model.d_modl'"),
    ({"factors": {**GOOD["factors"], "x": {"a": {}, "b": {"seed": 0}}}}, "factors.x: a and b are the same"),
    ({"fraction": {"norm": "warmup * drop"}}, "fraction is for factors of two levels, and drop has more"),
    ({"labels": {"pree": "x"}}, "labels names 'pree', which is no factor or level; did you mean 'pre'?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), MISTAKES)
def test_a_mistake_is_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_study({**GOOD, **changes}, PATH)
    assert message in str(caught.value)
    assert str(caught.value).startswith(("tiny/study.yaml", "study tiny"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fraction", "message"),
    [
        ({"E": "A*B"}, "fraction aliases the main effect of A with B x E; give a generator more factors"),
        ({"E": "A"}, "fraction aliases the main effect of A with E"),
        ({"E": "A*B*C", "F": "A*B*D*E"}, "fraction.F is a product with E, which is generated itself"),
        ({"E": "A*A*B*C"}, "fraction.E is a product with A, which is generated itself or stands twice"),
        ({"E": "A*B*G"}, "fraction names 'G', which is no factor"),
        ({"G": "A*B*C"}, "fraction names 'G', which is no factor"),
        ({"E": 3}, "it must give each generated factor a product"),
        ("E = ABC", "it must give each generated factor a product"),
        ({"E": "A*B*C", "F": "A*B*C"}, "fraction aliases the main effect of E with F"),
    ],
)
def test_a_bad_fraction_is_one_line(fraction: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        letters(fraction)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_says_what_a_fraction_cannot_tell_apart(capsys: pytest.CaptureFixture[str]) -> None:
    plan.main(["--study", "context", "--no-probe"])
    out = capsys.readouterr().out
    assert "In all: 96 cells (32 variants, 3 seeds)" in out
    assert (
        "Factors: 6, 32 of the 64 combinations of their levels: a fraction of resolution VI, I = norm x warmup" in out
    )
    assert "No main effect and no interaction of two factors is aliased with another of them." in out


def test_stages_read_variants_from_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("experiments/studies/tiny")
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    (folder / "study.yaml").write_text(yaml.safe_dump(GOOD, sort_keys=False))
    assert write_stages(stage_files("tiny")) == [folder / "dvc.yaml", folder / "variants.yaml"]
    study = load_study("tiny")
    assert read_yaml(folder / "variants.yaml") == {"variants": study.variants}
    stages = yaml.safe_load(stage_files("tiny")[folder / "dvc.yaml"])
    assert [entry for entry in stages["vars"] if isinstance(entry, str)] == ["study.yaml:name,seeds", "variants.yaml"]
    for stage in ("train", "evaluate"):
        own, variants = stages["stages"][stage]["params"]
        assert variants == {"experiments/studies/${name}/variants.yaml": ["variants.${item.variant}"]}
        assert not any("variants" in key for key in own["experiments/studies/${name}/study.yaml"])
