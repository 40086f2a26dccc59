"""`train --cfg`: the config of a cell, where each setting comes from, and several cells by one command line."""

import pytest
import yaml

from experiments.commands import train
from experiments.config.cell import Cell
from experiments.config.marked import marked_yaml
from experiments.config.run_config import to_dict
from experiments.config.study import load_study
from lit_transformer.errors import UserError

CELL = ["--study", "components", "--variant", "one_head", "--seed", "1"]


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    train.main([*CELL, *arguments, "--cfg"])
    return capsys.readouterr().out


def test_the_config_is_printed_whole_and_nothing_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ("optim.steps=50", "recipe=t2t_v3")
    expected = to_dict(Cell(load_study("components"), "one_head", 1, overrides).config)
    assert yaml.safe_load(printed(capsys, *overrides)) == expected


@pytest.mark.parametrize(
    "line",
    [
        "  d_model: 64  # base; default: 512",
        "    heads: 1  # variant one_head; base: 4",
        "    d_k: 32  # command line; variant one_head: 64",
        "  steps: 50  # command line; base: 600",
        "    placement: pre  # command line; default: post",
        "recipe: t2t_v3  # command line; base: paper",
        "  beta1: 0.9",
        "seed: 1",
    ],
)
def test_what_is_no_default_says_who_set_it_and_what_it_replaces(line: str) -> None:
    """A recipe's settings are marked as those of the layer that names it."""
    overrides = ("optim.steps=50", "model.attention.d_k=32", "recipe=t2t_v3")
    assert line in marked_yaml(Cell(load_study("components"), "one_head", 1, overrides)).splitlines()


def test_several_cells_are_several_documents(capsys: pytest.CaptureFixture[str]) -> None:
    train.main(["--study", "components", "--variant", "base,one_head", "--seed", "0,1", "--cfg"])
    out = capsys.readouterr().out
    titles = [line for line in out.splitlines() if line.startswith("# ")]
    assert titles == [f"# components / {name} / seed {seed}" for seed in (0, 1) for name in ("base", "one_head")]
    documents = list(yaml.safe_load_all(out))
    assert [(one["seed"], one["model"]["attention"]["heads"]) for one in documents] == [(0, 4), (0, 1), (1, 4), (1, 1)]


def test_a_misspelt_variant_of_several_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match="no variant 'one_haed'; did you mean 'one_head'"):
        train.main(["--study", "components", "--variant", "base,one_haed", "--seed", "0"])


@pytest.mark.parametrize(("option", "value"), [("--seed", "0,x"), ("--seed", "0,,1"), ("--variant", "base,")])
def test_a_list_that_is_none_is_a_mistake(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"--study": "components", "--variant": "base", "--seed": "0", option: value}
    with pytest.raises(SystemExit):
        train.main([word for pair in arguments.items() for word in pair])
    assert f"'{value}' is no" in capsys.readouterr().err
