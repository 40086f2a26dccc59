"""The figures of a report. A module holds a chart whole: its data, its drawing, and its `Figure` with the caption.

style.py       inks, scales, theme, the `Figure` class, rendering to SVG and PNG
effects.py     effects of factors: a forest, and how the largest interactions look
forest.py      what each change is worth; two studies side by side
curves.py      learning curves
cost.py        BLEU against cost, with Pareto fronts
lengths.py     BLEU by sentence length
attention.py   heat maps of attention, and lines as in the paper's Figures 3 to 5
probe.py       measurements inside the models; BLEU on every test set
ladder.py      one corpus level against another
"""

from collections.abc import Mapping

from experiments.reporting.figures.attention import heads_figure, mean_attention_figure
from experiments.reporting.figures.cost import cost_figure
from experiments.reporting.figures.curves import curves_figure
from experiments.reporting.figures.effects import effects_figure, interactions_figure
from experiments.reporting.figures.forest import forest_figure
from experiments.reporting.figures.lengths import length_curves_figure, length_heatmap_figure
from experiments.reporting.figures.probe import (
    Probe,
    gradients_figure,
    headline_figure,
    softmax_figure,
    splits_figure,
)
from experiments.reporting.figures.style import Figure
from experiments.reporting.results import Results
from experiments.reporting.summary import Summary


def draw_figures(summary: Summary, results: Results, probes: Mapping[str, Probe]) -> list[Figure]:
    """Draw every figure that the results allow, in the order of the page."""
    figures = [
        effects_figure(summary),
        interactions_figure(summary),
        forest_figure(summary),
        curves_figure(summary, results),
        cost_figure(summary, results),
        length_curves_figure(summary, results),
        length_heatmap_figure(summary, results),
        mean_attention_figure(summary, results),
        heads_figure(summary, results),
        splits_figure(summary),
        headline_figure(probes),
        softmax_figure(summary, probes),
        gradients_figure(probes),
    ]
    return [figure for figure in figures if figure]
