"""Does a study agree with Table 3 of the paper? A rule, and the same rule as a sentence.

The paper gives one run a row, and no spread. The spread of training runs from scratch is published for English-German
elsewhere: 0.11 BLEU over ten runs (Raffel et al. 2020, Table 1, another Transformer). A difference of two such runs
that lies within 1.96 sqrt(2) x 0.11 of zero says nothing, and that holds for several rows of the paper.
"""

from enum import StrEnum

import numpy as np
from scipy import stats

from experiments.reporting.paper import RUN_SD
from experiments.reporting.statistics import LEVEL

PAPER_NOISE = float(stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(2) * RUN_SD)
"""A difference of two single runs has to exceed this before its sign means anything."""


class Agreement(StrEnum):
    """What a row of a study says of the same row of the paper."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    UNCLEAR_HERE = "not separable here"
    UNCLEAR_THERE = "not separable in the paper"
    UNCLEAR_BOTH = "not separable in either"


RULE = (
    "Against the paper, a row is reproduced when it is better or worse here, by the rule above, the paper's difference "
    f"exceeds the noise of its single runs (±{PAPER_NOISE:.2f} BLEU, from a published sd of {RUN_SD:.2f} a run), and "
    "both have the same sign; contradicted when they have opposite signs; and not separable otherwise, which names the "
    "side that is too noisy. Sizes are not compared, for corpus and scale differ."
)


def agreement(decision: int, published: float) -> Agreement:
    """Return what a row says of the paper's difference, from its decision (1 better, -1 worse, 0 neither)."""
    exceeds = abs(published) > PAPER_NOISE
    if decision == 0:
        return Agreement.UNCLEAR_HERE if exceeds else Agreement.UNCLEAR_BOTH
    if not exceeds:
        return Agreement.UNCLEAR_THERE
    return Agreement.REPRODUCED if decision * published > 0 else Agreement.CONTRADICTED
