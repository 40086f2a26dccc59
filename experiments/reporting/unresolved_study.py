"""A study of which only the results are read: an earlier revision's, whose config this code may not know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.factors import parse_design
from experiments.config.run_config import flatten, read_yaml
from experiments.config.study import ENSEMBLES, STUDIES, Study, parse_looks, parse_margin, short_key
from experiments.config.tuning import parse_tuning
from lit_transformer.errors import UserError


@dataclass(frozen=True, eq=False)
class UnresolvedStudy(Study):
    """A study whose configs are not resolved, under a root of its own: a variant's change is its delta as written."""

    root: Path = Path()

    @property
    def folder(self) -> Path:
        return self.root / STUDIES / self.name

    def describe(self, variant: str, overrides: Sequence[str] = ()) -> str:
        """Say what a variant sets: "positions.kind none"."""
        return (
            ", ".join(f"{short_key(key)} {value}" for key, value in flatten(self.delta(variant)).items()) or "no change"
        )


def read_unresolved_study(name: str, root: Path = Path()) -> UnresolvedStudy:
    """Read what results need of a study.yaml: names, seeds, base and variants as they are written."""
    path = root / STUDIES / name / "study.yaml"
    if not path.is_file():
        raise UserError(f"no study '{name}' ({STUDIES / name / 'study.yaml'} is missing)")
    return unresolved_study(name, read_yaml(path), STUDIES / name / "study.yaml", root)


def unresolved_study(name: str, content: dict[str, Any], path: Path, root: Path = Path()) -> UnresolvedStudy:
    """Return the study of a mapping with the keys of study.yaml; errors name the path."""
    seeds, baseline = content.get("seeds"), str(content.get("baseline"))
    design = parse_design(content, baseline, path)
    variants = design.variants if design else content.get("variants")
    if not isinstance(variants, dict) or not isinstance(seeds, list) or baseline not in variants:
        raise UserError(f"{path}: needs seeds, variants and a baseline that is one of them")
    return UnresolvedStudy(
        name=name,
        question=str(content.get("question", "")),
        corpus=str(content.get("corpus", "")),
        baseline=baseline,
        seeds=[int(seed) for seed in seeds],
        base=_mapping(content.get("base")),
        variants={str(variant): _mapping(delta) for variant, delta in variants.items()},
        ensembles=list(content.get(ENSEMBLES) or []),
        looks=parse_looks(content.get("looks"), seeds, path),
        margin=parse_margin(content.get("margin"), path),
        labels=_mapping(content.get("labels")),
        tune=parse_tuning(content.get("tune"), seeds, path),
        design=design,
        root=root,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
