"""The picture of two rungs, for the ladder's page and for the report of a study that stands on one of them."""

from experiments.reporting.figures.drawing import Figure, svg
from experiments.reporting.figures.pair_charts import scatter
from experiments.reporting.rungs import Ladder


def ladder_figure(ladder: Ladder) -> Figure:
    """Draw the shared changes of two rungs against each other."""
    wide, narrow = scatter(ladder, 480, 340), scatter(ladder, 135, 220)
    assert wide is not None, "a ladder has pairs"
    assert narrow is not None, "a ladder has pairs"
    lower, upper = ladder.lower, ladder.upper
    shaded = lower.summary.noise_floor or upper.summary.noise_floor
    shade = " Shaded: the noise floor of each rung that has several seeds." if shaded else ""
    bars = " Bars: 95 % intervals." if any(rung.summary.compared for rung in (lower, upper)) else ""
    caption = (
        f"BLEU, each change minus the baseline of its own rung: {lower.study.name} across, {upper.study.name} up; "
        f"colour and shape are the verdict on {upper.name}.{bars}{shade}"
    )
    name = f"ladder-{lower.study.name}-{upper.study.name}"
    return Figure(name, f"What {lower.name} predicts of {upper.name}", caption, svg(wide), svg(narrow))
