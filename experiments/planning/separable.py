"""What a number of seeds can tell apart, said before they are trained."""

from experiments.config.study import Study
from experiments.reporting.paper import RUN_SD
from experiments.reporting.statistics import ALPHA, smallest_separable
from experiments.reporting.study_results import AT_HAND, study_results
from lit_transformer.errors import UserError


def separable(study: Study, seeds: int) -> str:
    """Say which difference in BLEU so many seeds separate, in the study's own noise if it has results, else published.

    The published figure is that of one run; a difference of two runs varies by its double root.
    """
    sd, origin = _noise(study)
    changes = len(study.variants) - 1
    if seeds < 2:
        return f"One seed separates nothing: a difference of two runs varies by {sd:.2f} BLEU (sd; {origin})."
    alone = smallest_separable(sd, seeds)
    strictest = smallest_separable(sd, seeds, ALPHA / max(changes, 1))
    return (
        f"{seeds} seeds separate a difference of {alone:.2f} BLEU in one paired t-test, {strictest:.2f} under the "
        f"strictest step of Holm's correction over {changes} changes: a paired difference varies by {sd:.2f} BLEU "
        f"(sd; {origin})."
    )


def _noise(study: Study) -> tuple[float, str]:
    """Return the sd of a difference of two runs, and where it comes from."""
    try:
        results = study_results(study)
    except UserError:  # no results, or none that a report can be made of
        results = None
    if results and (noise := results.summary.noise):
        which = "results so far" if results.origin == AT_HAND else "published results"
        return noise.sd, f"this study's {which}, {noise.n} seeds"
    origin = f"published: one run of EN-DE varies by {RUN_SD}, T5 Table 1; small corpora vary more"
    return RUN_SD * 2**0.5, origin
