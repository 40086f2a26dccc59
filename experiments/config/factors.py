"""`factors` of study.yaml: the variants of a study are combinations of levels, all of them or a regular fraction.

A factor is a set of named levels, each a delta; the first is the baseline's. In a fraction, the levels of some factors
of two levels follow from those of others (Box, Hunter and Hunter 2005, chapter 6): with levels 0 and 1, a generated
level is the sum of its generators' modulo 2, so that the baseline is always among the cells. What a fraction cannot
tell apart, its aliases, follows from its defining words: sets of factors of which an even number is switched in every
cell.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

from experiments.config.run_config import flatten
from lit_transformer.errors import UserError, nearest

FACTORS, FRACTION = "factors", "fraction"
"""The keys of study.yaml."""
LONGEST_NAME = 100
NAME = rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}"
"""What may name a study, a variant or a level: it is part of paths, and of the commands that DVC gives to a shell."""
JOINED = "+"
"""What stands between the levels in the name of a variant."""
LEAST_RESOLUTION = 4
"""From this resolution on, no main effect is aliased with another or with an interaction of two factors."""
TIMES = " x "
Effect = frozenset[str]
"""The factors of a main effect or an interaction."""


@dataclass(frozen=True)
class Factor:
    """A factor and the deltas of its levels by name; the first level is the baseline's."""

    name: str
    levels: dict[str, dict[str, Any]]

    @property
    def first(self) -> str:
        return next(iter(self.levels))


@dataclass(frozen=True)
class Design:
    """The cells of a study by variant: the level of each factor. `generators` are those of a fraction, else empty."""

    factors: tuple[Factor, ...]
    generators: dict[str, tuple[str, ...]]
    baseline: str

    @cached_property
    def cells(self) -> dict[str, dict[str, str]]:
        """The level of each factor by variant, the baseline first, then those with the fewest levels switched."""
        free = [factor for factor in self.factors if factor.name not in self.generators]
        cells = []
        for levels in product(*(factor.levels for factor in free)):
            cell = dict(zip((factor.name for factor in free), levels, strict=True))
            for name, generators in self.generators.items():
                switched = sum(cell[other] != self.factor(other).first for other in generators)
                cell[name] = list(self.factor(name).levels)[switched % 2]
            cells.append({factor.name: cell[factor.name] for factor in self.factors})
        cells.sort(key=lambda cell: len(self._switched(cell)))
        return {JOINED.join(self._switched(cell)) or self.baseline: cell for cell in cells}

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """The delta of each variant: those of its levels together."""
        return {
            variant: merged(self.factor(name).levels[level] for name, level in cell.items())
            for variant, cell in self.cells.items()
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The design as study.yaml has it."""
        settings: dict[str, Any] = {FACTORS: {factor.name: factor.levels for factor in self.factors}}
        if self.generators:
            settings[FRACTION] = {name: " * ".join(parts) for name, parts in self.generators.items()}
        return settings

    def factor(self, name: str) -> Factor:
        """Return the factor of that name."""
        return next(factor for factor in self.factors if factor.name == name)

    def _switched(self, cell: Mapping[str, str]) -> list[str]:
        return [cell[factor.name] for factor in self.factors if cell[factor.name] != factor.first]

    @cached_property
    def words(self) -> list[Effect]:
        """The defining words, shortest first; none for all combinations."""
        generating = [frozenset({name, *generators}) for name, generators in self.generators.items()]
        found = set()
        for count in range(1, len(generating) + 1):
            for chosen in combinations(generating, count):
                word: Effect = frozenset()
                for part in chosen:
                    word = word ^ part
                found.add(word)
        return sorted(found, key=self._order)

    @property
    def resolution(self) -> int | None:
        """The length of the shortest defining word; None for all combinations, in which nothing is aliased."""
        return len(self.words[0]) if self.words else None

    def check_resolution(self, path: Path) -> None:
        """Raise UserError, naming the path, for a fraction that aliases a main effect with what could be as large."""
        if self.resolution is None or self.resolution >= LEAST_RESOLUTION:
            return
        word = self.words[0]
        main = frozenset([min(word, key=self._names.index)])
        alias = self.title(main ^ word) or "the mean of all cells"
        raise UserError(
            f"{path}: {FRACTION} aliases the main effect of {self.title(main)} with {alias}; give a generator more "
            "factors, or generate fewer"
        )

    def aliases(self, effect: Effect) -> list[tuple[int, Effect]]:
        """Return what a fraction cannot tell from an effect, with its sign, the lowest order first.

        An alias of sign -1 enters with the other sign: a contrast of levels -1 and 1 over a word of odd length is -1.
        """
        return [
            ((-1) ** len(word), effect ^ word) for word in sorted(self.words, key=lambda w: self._order(effect ^ w))
        ]

    def title(self, effect: Effect) -> str:
        """Return an effect by its factors in their order: "norm x warmup"."""
        return TIMES.join(factor.name for factor in self.factors if factor.name in effect)

    def description(self) -> list[str]:
        """Say in sentences how many cells there are, and what a fraction cannot tell apart."""
        sizes = TIMES.join(str(len(factor.levels)) for factor in self.factors)
        resolution = self.resolution
        if resolution is None:
            return [f"Factors: {len(self.factors)}, all {sizes} = {len(self.cells)} combinations of their levels."]
        relation = " = ".join(["I", *(self._signed((-1) ** len(word), word) for word in self.words)])
        lines = [
            f"Factors: {len(self.factors)}, {len(self.cells)} of the {2 ** len(self.factors)} combinations of their "
            f"levels: a fraction of resolution {roman(resolution)}, {relation}."
        ]
        pairs = [frozenset(pair) for pair in combinations(self._names, 2)]
        shared = [pair for pair in pairs if any(len(alias) <= 2 for _, alias in self.aliases(pair))]
        seen: set[Effect] = set()
        chains = []
        for pair in shared:
            if pair not in seen:
                chain = [(1, pair), *((sign, alias) for sign, alias in self.aliases(pair) if len(alias) <= 2)]
                seen |= {alias for _, alias in chain}
                chains.append(self.chain(chain))
        if chains:
            lines.append(f"Interactions that it cannot tell apart: {'; '.join(chains)}.")
        else:
            lines.append("No main effect and no interaction of two factors is aliased with another of them.")
        return lines

    def chain(self, effects: Sequence[tuple[int, Effect]]) -> str:
        """Return effects that are aliased as one text: "norm x warmup = -scale x dropout"."""
        return " = ".join(self._signed(sign, effect) for sign, effect in effects)

    def _signed(self, sign: int, effect: Effect) -> str:
        return ("-" if sign < 0 else "") + self.title(effect)

    @property
    def _names(self) -> list[str]:
        return [factor.name for factor in self.factors]

    def _order(self, effect: Effect) -> tuple[int, list[int]]:
        return len(effect), sorted(self._names.index(name) for name in effect)


def parse_design(content: Mapping[str, Any], baseline: str, path: Path) -> Design | None:
    """Read `factors` and `fraction` of study.yaml, None where it has none; errors name the path and the place."""
    if content.get(FACTORS) is None:
        if content.get(FRACTION) is not None:
            raise UserError(f"{path}: {FRACTION} is a part of the cells of {FACTORS}, which are missing; add them")
        return None
    factors = _factors(content[FACTORS], baseline, path)
    _check_apart(factors, path)
    design = Design(factors, _generators(content.get(FRACTION), factors, path), baseline)
    design.check_resolution(path)
    return design


def merged(deltas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge nested deltas that set no key twice."""
    result: dict[str, Any] = {}
    for delta in deltas:
        for key, value in delta.items():
            result[key] = merged([result.get(key, {}), value]) if isinstance(value, Mapping) else value
    return result


def roman(number: int) -> str:
    """Return a resolution as it is written: 4 is "IV"."""
    text = ""
    for value, letters in ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")):
        text += letters * (number // value)
        number %= value
    return text


def _factors(value: Any, baseline: str, path: Path) -> tuple[Factor, ...]:
    example = "such as norm: {post_norm: {}, pre_norm: {model: {norm: {placement: pre}}}}"
    if not isinstance(value, dict) or len(value) < 2:
        raise UserError(
            f"{path}: {FACTORS} must hold two factors or more, {example}; a single one is a list of variants"
        )
    seen: dict[str, str] = {baseline: "the baseline"}
    for name, levels in value.items():
        where = f"{path}: {FACTORS}.{name}"
        if not isinstance(levels, dict) or len(levels) < 2:
            raise UserError(f"{where} needs two levels or more, each with a name and a delta, {example}")
        for level, delta in levels.items():
            for text in (name, level):
                if not isinstance(text, str) or not re.fullmatch(NAME, text):
                    raise UserError(
                        f"{where}: {text!r} cannot be a part of a stage's name; use letters, digits, _ and -"
                    )
            if not isinstance(delta, dict):
                raise UserError(f"{where}.{level} is {delta!r}; it must hold keys and values ({{}} for none)")
            if level in seen:
                raise UserError(f"{where}: the level '{level}' is the name of {seen[level]} too; call it otherwise")
            seen[level] = f"a level of {name}"
    return tuple(Factor(name, levels) for name, levels in value.items())


def _check_apart(factors: Sequence[Factor], path: Path) -> None:
    """Refuse two factors that set the same key, and one that switches the recipe, which sets many."""
    setters: dict[str, str] = {}
    for factor in factors:
        keys = {key for delta in factor.levels.values() for key in flatten(delta)}
        if "recipe" in keys:
            raise UserError(
                f"{path}: {FACTORS}.{factor.name} sets the recipe, and with it keys of others; name its keys"
            )
        for key in sorted(keys):
            for other, by in setters.items():
                if other == key or other.startswith(f"{key}.") or key.startswith(f"{other}."):
                    raise UserError(
                        f"{path}: {FACTORS}.{by} and {FACTORS}.{factor.name} both set {max(key, other, key=len)}; let "
                        "one of them do it"
                    )
        setters |= dict.fromkeys(keys, factor.name)


def _generators(value: Any, factors: Sequence[Factor], path: Path) -> dict[str, tuple[str, ...]]:
    example = "such as {dropout: norm * warmup * scale}"
    if value is None:
        return {}
    if not isinstance(value, dict) or not value or not all(isinstance(text, str) for text in value.values()):
        raise UserError(f"{path}: {FRACTION} is {value!r}; it must give each generated factor a product, {example}")
    names = [factor.name for factor in factors]
    generators = {name: tuple(part.strip() for part in text.split("*")) for name, text in value.items()}
    for name, parts in generators.items():
        for part in (name, *parts):
            if part not in names:
                raise UserError(f"{path}: {FRACTION} names '{part}', which is no factor{nearest(str(part), names)}")
        generated = tuple(part for part in parts if part in generators or parts.count(part) > 1)
        if generated:
            raise UserError(
                f"{path}: {FRACTION}.{name} is a product with {generated[0]}, which is generated itself or "
                "stands twice; name each factor once, and only those that no product gives"
            )
    if many := next((factor.name for factor in factors if len(factor.levels) > 2), ""):
        raise UserError(f"{path}: {FRACTION} is for factors of two levels, and {many} has more; drop it or a level")
    return generators
