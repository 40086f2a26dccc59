"""Agreement with the paper's Table 3: the rule case by case, over its rows, and in simulated replications."""

import math

import numpy as np
import pytest

from experiments.config.study import Look
from experiments.reporting import paper
from experiments.reporting.paper import AGREEMENT_RULE, PAPER_NOISE, RUN_SD, Agreement, agreement
from experiments.reporting.statistics import ALPHA
from experiments.reporting.verdicts import decide


def test_the_noise_of_the_paper_is_that_of_two_single_runs() -> None:
    assert pytest.approx(1.959964 * math.sqrt(2) * 0.11, rel=1e-6) == PAPER_NOISE
    assert "±0.30 BLEU" in AGREEMENT_RULE


@pytest.mark.parametrize(
    ("decision", "published", "expected"),
    [
        (-1, -0.9, Agreement.REPRODUCED),
        (1, 0.4, Agreement.REPRODUCED),
        (1, -0.9, Agreement.CONTRADICTED),
        (-1, 0.4, Agreement.CONTRADICTED),
        (0, -0.9, Agreement.UNCLEAR_HERE),
        (1, -0.3, Agreement.UNCLEAR_THERE),
        (-1, 0.0, Agreement.UNCLEAR_THERE),
        (0, -0.1, Agreement.UNCLEAR_BOTH),
        (0, 0.0, Agreement.UNCLEAR_BOTH),
    ],
)
def test_the_rule(decision: int, published: float, expected: Agreement) -> None:
    assert agreement(decision, published) is expected


def test_rows_of_the_paper_that_its_own_noise_covers() -> None:
    """Seven of nineteen: no verdict of ours can confirm or refute them."""
    covered = {row.variant for row in paper.TABLE3[1:] if agreement(1, _published(row.variant)).value.endswith("paper")}
    assert covered == {"h4", "h16", "N8", "d1024", "drop0.2", "ls0.2", "learned"}


@pytest.mark.parametrize("seeds", [3, 5])
def test_replications_of_the_same_truth_are_not_called_contradictions(seeds: int) -> None:
    """Both sides measure the same 19 effects, ours four times as large: any contradiction in a study is an error."""
    studies, random = 2_000, np.random.default_rng(seeds)
    truth = np.array([_published(row.variant) for row in paper.TABLE3[1:]])
    there = truth + random.normal(0, RUN_SD, (studies, len(truth))) - random.normal(0, RUN_SD, (studies, 1))
    baseline = random.normal(0, 0.3, (studies, seeds))
    ours = 4 * truth[:, None] + random.normal(0, 0.3, (studies, len(truth), seeds))
    decided = decide(ours, baseline, [Look(seeds, 1.0)], margin=0.1).call
    found = [
        [agreement(one, other) for one, other in zip(*rows, strict=True)] for rows in zip(decided, there, strict=True)
    ]
    contradicted = np.mean([Agreement.CONTRADICTED in row for row in found])
    reproduced = np.mean([row.count(Agreement.REPRODUCED) for row in found])
    assert contradicted <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / studies)
    assert reproduced > (9 if seeds == 5 else 0.3), "and what is large enough is found again"


def _published(variant: str) -> float:
    found = paper.published_difference(variant)
    assert found is not None
    return found
