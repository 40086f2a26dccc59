"""The figure of agreement across two corpora, for the page of `ladder` and the report of either study."""

from experiments.reporting.across_corpora import CorpusAgreement
from experiments.reporting.figures.drawing import Figure, svg
from experiments.reporting.figures.pair_charts import scatter


def ladder_figure(agreement: CorpusAgreement) -> Figure:
    """Draw the shared changes of two studies against each other."""
    wide, narrow = scatter(agreement, 480, 340), scatter(agreement, 135, 220)
    assert wide is not None, "an agreement has shared changes"
    assert narrow is not None, "an agreement has shared changes"
    lower, upper = agreement.lower, agreement.upper
    shaded = lower.summary.noise_floor or upper.summary.noise_floor
    shade = " Shaded: the noise floor of each corpus that has several seeds." if shaded else ""
    bars = " Bars: 95 % intervals." if any(study.summary.compared for study in (lower, upper)) else ""
    caption = (
        f"BLEU, each change minus the baseline on its own corpus: {lower.study.name} across, {upper.study.name} up; "
        f"colour and shape are the verdict on {upper.corpus_level}.{bars}{shade}"
    )
    name = f"ladder-{lower.study.name}-{upper.study.name}"
    title = f"What {lower.corpus_level} predicts of {upper.corpus_level}"
    return Figure(name, title, caption, svg(wide), svg(narrow))
