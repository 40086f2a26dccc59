"""One run by several processes: the same gradient as by one, whatever the sentences' lengths; who starts them."""

import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from data_modules.batches import plan_batches
from data_modules.prepared import PreparedCorpus
from experiments.config.study import load_study
from tests.killing import ROOT, write_project
from tests.ranks import BUDGET

Step = dict[str, Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ranks")
    write_project(root)
    return root


@pytest.fixture(scope="module")
def steps(project: Path) -> dict[tuple[int, int], Step]:
    """Return the first step by (ranks, accumulated batches)."""
    names = [f"{ranks}-{accumulate}" for ranks in (1, 2, 4) for accumulate in (1, 3)]
    command = [sys.executable, str(ROOT / "tests/ranks.py"), str(project), *names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return {(int(name[0]), int(name[2])): torch.load(project / f"{name}.pt", weights_only=True) for name in names}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_several_ranks_have_the_gradient_of_one(
    steps: dict[tuple[int, int], Step], project: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, accumulate: int
) -> None:
    one, several = steps[1, accumulate], steps[ranks, accumulate]
    monkeypatch.chdir(project)
    lengths = PreparedCorpus.open(load_study("killed").data_folder).split("train").target_lengths
    for place in range(accumulate):  # the same sentences, each at one rank, and not the same number of tokens
        shares = [pairs[place] for pairs in several["pairs"]]
        assert sorted(chain(*shares)) == sorted(one["pairs"][0][place])
        assert len({int(lengths[share].sum()) for share in shares}) > 1
    assert one["gradients"].keys() == several["gradients"].keys()
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(several["gradients"][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert several["row"]["train_loss"] == pytest.approx(one["row"]["train_loss"], rel=1e-5)
    assert several["row"]["valid_loss"] == pytest.approx(one["row"]["valid_loss"], rel=1e-5)
    assert several["work"] == one["work"]
    assert several["row"]["target_tokens"] == one["row"]["target_tokens"]


def test_the_plan_of_the_tests_is_the_same_for_all_ranks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    study = load_study("killed")
    split = PreparedCorpus.open(study.data_folder).split("train")
    lengths, budget = (split.source_lengths, split.target_lengths), BUDGET
    plans = [plan_batches(*lengths, budget, 3, 0, ranks) for ranks in (1, 2, 4)]
    for plan in plans[1:]:
        assert [batch.tolist() for batch in plan] == [batch.tolist() for batch in plans[0]]
