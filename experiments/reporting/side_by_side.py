"""Two studies variant by variant: both estimates, and whether a change is worth as much in one as in the other."""

from dataclasses import dataclass
from typing import Any

from scipy import stats

from experiments.config.study import flatten
from experiments.reporting.provenance import provenance
from experiments.reporting.revisions import Side
from experiments.reporting.statistics import LEVEL, BySeed, Estimate, compare, differences, holm
from experiments.reporting.summary import Row
from lit_transformer.errors import UserError

SAME = "the same cells"


@dataclass(frozen=True)
class Gap:
    """B less A, how it was told (paired by seed, Welch, one seed, the same cells), and the p of that test."""

    difference: Estimate
    how: str
    p: float | None = None


@dataclass(frozen=True)
class Line:
    """A variant on both sides. `gap` is of its BLEU, `gain` of its difference to its baseline; None unless alike."""

    variant: str
    a: Row
    b: Row
    gap: Gap | None
    gain: Gap | None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two sides. `apart` names why their scores may not share a column; empty where they may."""

    a: Side
    b: Side
    lines: list[Line]
    apart: list[str]
    only_a: list[str]
    only_b: list[str]

    @property
    def alike(self) -> bool:
        return not self.apart


def side_by_side(a: Side, b: Side) -> Comparison:
    """Compare the variants of the same name; raises UserError where there is none."""
    shared = [variant for variant in a.study.variants if variant in b.study.variants]
    if not shared:
        raise UserError(f"{a.name} and {b.name} share no variant ({_few(a)}; {_few(b)})")
    apart = _apart(a, b)
    lines = [_line(a, b, variant, bool(apart)) for variant in shared]
    tested = [line.variant for line in lines if line.gain and line.gain.p is not None]
    ps = [line.gain.p for line in lines if line.gain and line.gain.p is not None]
    adjusted = dict(zip(tested, holm(ps).tolist(), strict=True))
    lines = [Line(x.variant, x.a, x.b, x.gap, x.gain, adjusted.get(x.variant)) for x in lines]
    only_a, only_b = ([variant for variant in one.study.variants if variant not in shared] for one in (a, b))
    return Comparison(a, b, lines, apart, only_a, only_b)


def between(a: BySeed, b: BySeed) -> Gap | None:
    """Return B less A: paired over the seeds that both have, else by Welch's test; None where one has no score.

    Both are of one corpus, on which a seed fixes the order of the data whatever the code.
    """
    if not a or not b:
        return None
    paired = compare(b, a)
    if paired and paired.difference.n >= 2:
        return Gap(paired.difference, f"paired, {paired.difference.n} seeds", paired.p)
    one, other = list(a.values()), list(b.values())
    mean = sum(other) / len(other) - sum(one) / len(one)
    least = min(len(one), len(other))
    if least < 2:
        return Gap(Estimate(mean, None, None, least), "one seed")
    if max(one) - min(one) + max(other) - min(other) < 1e-9:
        return Gap(Estimate(mean, None, None, least), "no spread")
    test = stats.ttest_ind(other, one, equal_var=False)
    interval = test.confidence_interval(LEVEL)
    found = Estimate(mean, float(interval.low), float(interval.high), least)
    return Gap(found, f"Welch, {len(other)} and {len(one)} seeds", float(test.pvalue))


def how_made(comparison: Comparison) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return what differs in how the two were made, as (name, A, B), and the names of what is the same."""
    sides = comparison.a, comparison.b
    facts = [_facts(side) for side in sides]
    names = list(dict.fromkeys([*facts[0], *facts[1]]))
    rows = [(name, *(_told(own.get(name)) for own in facts)) for name in names]
    differing = [(name, one, other) for name, one, other in rows if one != other]
    settings = [_settings(side, comparison) for side in sides]
    keys = sorted({*settings[0], *settings[1]})
    changed = [(key, *(_told(own.get(key)) for own in settings)) for key in keys]
    differing += [(key, one, other) for key, one, other in changed if one != other]
    same = [name for name, one, other in rows if one == other]
    if keys and not any(one != other for _, one, other in changed):
        same.append("every setting of study.yaml")
    return differing, same


def _line(a: Side, b: Side, variant: str, apart: bool) -> Line:
    rows = a.summary.row(variant), b.summary.row(variant)
    if apart:
        return Line(variant, *rows, None, None)
    scores = [_bleu(side, variant) for side in (a, b)]
    bases = [_bleu(side, side.study.baseline) for side in (a, b)]
    gains = [differences(own, base) for own, base in zip(scores, bases, strict=True)]
    is_baseline = variant in (a.study.baseline, b.study.baseline)
    same = _same_cells(a, b, variant)
    gap = between(*scores)
    gain = None if is_baseline else between(*gains)
    if same and gap:
        gap = Gap(Estimate(0.0, None, None, gap.difference.n), SAME)
        unmoved = _same_cells(a, b, a.study.baseline) and a.study.baseline == b.study.baseline
        gain = Gap(Estimate(0.0, None, None, gap.difference.n), SAME) if gain and unmoved else gain
    return Line(variant, *rows, gap, gain)


def _same_cells(a: Side, b: Side, variant: str) -> bool:
    one, other = ([(r.seed, r.training, r.scores) for r in side.results.of(variant)] for side in (a, b))
    return bool(one) and one == other


def _bleu(side: Side, variant: str) -> dict[int, float]:
    return side.results.scores(variant, side.results.primary, "bleu")


def _apart(a: Side, b: Side) -> list[str]:
    """Say why BLEU of the two cannot share a column: another split, signature, corpus or number of sentences."""
    found = []
    for title, of in (("test set", _split), ("signature", _signature), ("data", _data), ("sentences", _sentences)):
        one, other = of(a), of(b)
        if one != other:
            found.append(f"{title}: {one} in {a.name}, {other} in {b.name}")
    return found


def _split(side: Side) -> str:
    return side.results.primary or "none scored"


def _signature(side: Side) -> str:
    return side.summary.signature(side.results.primary, "bleu") if side.results.primary else "none"


def _data(side: Side) -> str:
    hashes = {str((r.scores or {}).get("data_hash"))[:12] for r in side.results.records if r.scored}
    return ", ".join(sorted(hashes)) or "none"


def _sentences(side: Side) -> str:
    split = side.results.primary or ""
    counts = {str(r.splits[split].get("sentences")) for r in side.results.records if r.scored and split in r.splits}
    return ", ".join(sorted(counts)) or "none"


def _facts(side: Side) -> dict[str, str]:
    facts: dict[str, str] = {"Study": side.study.name, "Corpus": side.study.corpus}
    facts |= {"Baseline": side.study.baseline, "Seeds": ", ".join(str(seed) for seed in side.study.seeds)}
    return facts | dict(provenance(side.summary, side.results).facts)


def _settings(side: Side, comparison: Comparison) -> dict[str, Any]:
    own: dict[str, Any] = {f"base.{key}": value for key, value in flatten(side.study.base).items()}
    for line in comparison.lines:
        delta = flatten(side.study.variants[line.variant])
        own |= {f"variants.{line.variant}.{key}": value for key, value in delta.items()}
    return own


def _told(value: Any) -> str:
    return "–" if value is None or value == {} else str(value)


def _few(side: Side) -> str:
    names = list(side.study.variants)
    return f"{side.name}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
