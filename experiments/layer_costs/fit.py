"""Exponents: the slope of a line through logarithms, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.reporting.statistics import LEVEL


@dataclass(frozen=True)
class Exponent:
    """y grows with x to the power `value`; `low` to `high` is its 95 % interval. `end`: between the two largest x.

    The interval says how well a power describes the points. Where it does not, as where two terms share the cost, the
    exponent still moves with x, and `end` is the better guess of where it goes.
    """

    value: float
    low: float
    high: float
    end: float
    points: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def exponent(x: Sequence[float], y: Sequence[float]) -> Exponent:
    """Fit log y = a + b log x by least squares; at least three points."""
    from scipy import stats

    assert len(x) == len(y) >= 3
    log_x, log_y = (np.log(np.asarray(values, float)) for values in (x, y))
    (slope, _), covariance = np.polyfit(log_x, log_y, 1, cov=True)
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * np.sqrt(covariance[0, 0])
    last = np.argsort(log_x)[-2:]
    end = float(np.diff(log_y[last])[0] / np.diff(log_x[last])[0])
    return Exponent(float(slope), float(slope - half), float(slope + half), end, len(x))
