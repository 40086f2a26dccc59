"""Main effects and interactions of two factors, with intervals, in a study with `factors`.

The seeds of a cell, a combination of levels, are a sample with a mean and a variance of its own. The effect of a level
is the mean of all cells that have it less that of the cells with the factor's first level. An interaction is a
difference of differences: the effect of one level among the cells that have another switched, less its effect among
those that have not. Both are weighted sums of cells' means (`statistics.contrasts`), so every cell serves every effect.

Effects are corrected and called as changes are (verdicts.py): Holm's procedure over all of them, the same margin. A run
that diverged counts as 0 BLEU, since it translates nothing; leaving it out would favour what fails worst.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from experiments.config.factors import TIMES, Design, Effect, Factor
from experiments.config.study import Study
from experiments.reporting.formats import MISSING, bracketed, p_value, percent, plural
from experiments.reporting.grids import Grid, TableCell, markdown_grid
from experiments.reporting.results import Results
from experiments.reporting.statistics import ALPHA, Array, Estimate, contrasts, typical_sd
from experiments.reporting.verdicts import CALLED, DIVERGED, Verdict, conclude, outcomes, two_groups, verdict_of

LEAST_SEEDS = 3
"""Seeds of a cell from which effects are tested: with two, up to 8 % of studies would make a false claim."""
TITLE = "Main effects and interactions"


@dataclass(frozen=True)
class EffectRow:
    """A main effect, of one level, or an interaction, of two levels of different factors, in BLEU.

    `levels` are by factor; `aliases` are what a fraction cannot tell from it, with their signs.
    """

    levels: dict[str, str]
    label: str
    verdict: Verdict
    difference: Estimate
    p_adjusted: float
    aliases: str

    @property
    def name(self) -> str:
        """The levels as study.yaml names them: "pre_norm x no_warmup"."""
        return TIMES.join(self.levels.values())

    @property
    def is_interaction(self) -> bool:
        return len(self.levels) > 1

    @property
    def verdict_text(self) -> str:
        """The verdict in words: "better", or of an interaction "better together"."""
        together = self.is_interaction and self.verdict in CALLED
        return f"{self.verdict} together" if together else self.verdict.value


@dataclass(frozen=True)
class Effects:
    """The effects of a study; no rows while `waiting`, the cells that have fewer than LEAST_SEEDS runs, holds some.

    `means` has the mean BLEU of each variant, nan where it has none; the seeds of those in `grouped` fall into two
    groups. `labels` say in words what a level is.
    """

    design: Design
    rows: list[EffectRow]
    means: dict[str, float]
    waiting: list[str]
    grouped: list[str]
    margin: float
    labels: dict[str, str]

    @property
    def interactions(self) -> list[EffectRow]:
        """The interactions, those with a verdict first, then by size."""
        rows = [row for row in self.rows if row.is_interaction]
        return sorted(rows, key=lambda row: (row.verdict not in CALLED, -abs(row.difference.mean)))

    def margin_mean(self, levels: Mapping[str, str]) -> float:
        """Return the mean BLEU over the cells with these levels."""
        return float(np.mean([self.means[name] for name, cell in self.design.cells.items() if _has(cell, levels)]))


def find_effects(study: Study, results: Results) -> Effects | None:
    """Return the effects of a study's factors, None for a study without."""
    design = study.design
    if design is None:
        return None
    samples = np.array([outcomes(study, results, variant) for variant in design.cells])  # (cells, seeds)
    samples = np.where(samples == DIVERGED, 0.0, samples)
    n = (~np.isnan(samples)).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        means = dict(zip(design.cells, (np.nansum(samples, axis=-1) / n).tolist(), strict=True))
    waiting = [variant for variant, count in zip(design.cells, n, strict=True) if count < LEAST_SEEDS]
    labels = {level: study.label(level) for factor in design.factors for level in factor.levels}
    if waiting:
        return Effects(design, [], means, waiting, [], study.margin, labels)
    ordered = np.concatenate([samples[1:], samples[:1]])  # the baseline last
    groups = two_groups(ordered, np.nan_to_num(typical_sd(ordered))[..., None])
    names = [*list(design.cells)[1:], design.baseline]
    grouped = [name for name, split in zip(names, groups, strict=True) if split]
    return Effects(design, _rows(study, design, samples), means, [], grouped, study.margin, labels)


def effect_weights(design: Design) -> tuple[list[dict[str, str]], Array]:
    """Return the levels of every effect that can be told apart, and the weights (effects, cells) of its contrast."""
    effects, seen = [], set()
    for order in (1, 2):
        for factors in combinations(design.factors, order):
            effect: Effect = frozenset(factor.name for factor in factors)
            if effect in seen:
                continue
            seen |= {effect, *(alias for _, alias in design.aliases(effect))}
            effects += _switched(factors)
    return effects, np.array([_weights(design, levels) for levels in effects])


def grid(effects: Effects) -> Grid:
    """Return one row per effect."""
    aliased = any(row.aliases for row in effects.rows)
    titles = ["effect", "Δ BLEU [interval]", "p corrected", "verdict", *(["aliased with"] if aliased else [])]
    rows = [
        [
            TableCell(row.label),
            TableCell(bracketed(row.difference), row.difference.mean),
            TableCell(p_value(row.p_adjusted), row.p_adjusted),
            TableCell(row.verdict_text, verdict=row.verdict.name.lower()),
            *([TableCell(row.aliases or MISSING)] if aliased else []),
        ]
        for row in effects.rows
    ]
    return Grid(titles, rows, [False, True, True, False, *([False] if aliased else [])])


def sentences(effects: Effects) -> list[str]:
    """Return how many cells there are, what is aliased, how effects are tested, and what is missing."""
    lines = effects.design.description()
    if effects.waiting:
        lines.append(
            f"No effect is tested yet: {plural(len(effects.waiting), 'cell')} of {len(effects.means)} "
            f"{'has' if len(effects.waiting) == 1 else 'have'} fewer than {LEAST_SEEDS} scored seeds."
        )
        return lines
    lines.append(
        "The effect of a level is the mean of the cells that have it less that of the cells with the factor's first "
        "level; an interaction is the effect of one level where the other is switched less its effect where it is "
        "not. Every cell has a variance of its own (Satterthwaite's degrees of freedom). Intervals are corrected for "
        f"{plural(len(effects.rows), 'effect')} (Holm): better or worse when 0 lies outside, equal when all of it lies "
        f"within ±{effects.margin:g} BLEU, else open. At most {percent(ALPHA)} of studies make a false claim, if the "
        "seeds of a cell scatter about one mean, roughly normally. A run that diverged counts as 0 BLEU."
    )
    if effects.grouped:
        lines.append(
            f"Seeds fall into two groups, against that assumption: {', '.join(effects.grouped)}; intervals may be too "
            "narrow or too wide."
        )
    return lines


def markdown(effects: Effects) -> str:
    """Return the section for table.md."""
    text = f"\n## {TITLE}\n\n{' '.join(sentences(effects))}\n"
    table = grid(effects)
    return f"{text}\n{markdown_grid(table)}\n" if table.rows else text


def effect_records(effects: Effects) -> list[dict[str, object]]:
    """Return the effects as another program reads them."""
    return [
        {
            "effect": row.name,
            "label": row.label,
            "verdict": row.verdict.value,
            "difference": row.difference.mean,
            "interval": [row.difference.low, row.difference.high],
            "p_adjusted": row.p_adjusted,
            "aliased_with": row.aliases,
        }
        for row in effects.rows
    ]


def _rows(study: Study, design: Design, samples: Array) -> list[EffectRow]:
    levels, weights = effect_weights(design)
    test = contrasts(weights, samples)
    found = conclude(test.p(), np.ones(len(levels), dtype=bool), test.interval, study.margin)
    n = samples.shape[-1]
    return [
        EffectRow(
            levels=own,
            label=TIMES.join(study.label(level) for level in own.values()),
            verdict=verdict_of(int(found.call[place]), bool(found.equal[place])),
            difference=Estimate(float(test.mean[place]), float(found.low[place]), float(found.high[place]), n),
            p_adjusted=float(found.p_adjusted[place]),
            aliases=design.chain(design.aliases(frozenset(own))),
        )
        for place, own in enumerate(levels)
    ]


def _switched(factors: tuple[Factor, ...]) -> list[dict[str, str]]:
    """Return every combination of the factors' levels other than the first."""
    names = [factor.name for factor in factors]
    others = [[level for level in factor.levels if level != factor.first] for factor in factors]
    return [dict(zip(names, levels, strict=True)) for levels in product(*others)]


def _weights(design: Design, levels: Mapping[str, str]) -> Array:
    """Return the weights of the cells' means in an effect: those of the margins over which it is a difference."""
    weights = np.zeros(len(design.cells))
    for count in range(len(levels) + 1):
        for unswitched in combinations(levels, count):
            corner = {**levels, **{name: design.factor(name).first for name in unswitched}}
            inside = np.array([_has(cell, corner) for cell in design.cells.values()])
            weights += (-1) ** count * inside / inside.sum()
    return weights


def _has(cell: Mapping[str, str], levels: Mapping[str, str]) -> bool:
    return all(cell[factor] == level for factor, level in levels.items())
