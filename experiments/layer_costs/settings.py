"""The settings of the study, from layers.yaml."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from experiments.config.run_config import read_yaml
from lit_transformer.errors import UserError, nearest

STUDY = Path("experiments/studies/table1")


@dataclass(frozen=True)
class Settings:
    """What is measured; layers.yaml documents each key."""

    question: str
    lengths: list[int]
    width: int
    widths: list[int]
    length: int
    fit_length: int
    fit_width: int
    heads: int
    kernel: int
    window: int
    repeats: int
    path_lengths: list[int]
    path_window: int

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Each (n, d) once: all lengths at `width`, then all widths at `length`."""
        pairs = [(length, self.width) for length in self.lengths] + [(self.length, width) for width in self.widths]
        return list(dict.fromkeys(pairs))


def read_settings(path: Path) -> Settings:
    """Read and check layers.yaml; raises UserError that names the file and the key."""
    if not path.is_file():
        raise UserError(f"{path} is missing; bring it back with `git checkout {path}`")
    content = read_yaml(path)
    known = {field.name: field.type for field in fields(Settings)}
    for key in content:
        if key not in known:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, known)} (known: {', '.join(known)})")
    for key, kind in known.items():
        _check(path, key, content.get(key), kind)
    settings = Settings(**content)
    for width in [settings.width, *settings.widths]:
        if width % settings.heads:
            raise UserError(f"{path}: the width {width} cannot be shared by {settings.heads} heads; choose a multiple")
    if settings.kernel % 2 == 0:
        raise UserError(f"{path}: kernel is {settings.kernel}; choose an odd one, as wide to the left as to the right")
    if len(settings.path_lengths) < 3:
        raise UserError(
            f"{path}: path_lengths has {len(settings.path_lengths)}; give at least three, each twice the last"
        )
    _check_fits(path, "lengths", settings.lengths, settings.fit_length)
    _check_fits(path, "widths", settings.widths, settings.fit_width)
    return settings


def quick(settings: Settings) -> Settings:
    """Return a study that takes seconds; its exponents mean little."""
    return replace(
        settings,
        lengths=[64, 128, 192],
        width=16,
        widths=[16, 32, 48],
        length=64,
        fit_length=64,
        fit_width=16,
        window=8,
        repeats=1,
        path_lengths=[5, 9, 17],
    )


def _check(path: Path, key: str, value: Any, kind: Any) -> None:
    if kind is str:
        valid, expected = isinstance(value, str), "a sentence"
    elif kind is int:
        valid, expected = _is_count(value), "a whole number of at least 1"
    else:
        valid = isinstance(value, list) and value != [] and all(map(_is_count, value))
        expected = "a list of whole numbers of at least 1, such as [128, 256]"
    if not valid:
        raise UserError(f"{path}: {key} is {value!r}; it must be {expected}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _check_fits(path: Path, key: str, values: list[int], least: int) -> None:
    if len(set(values)) != len(values) or sum(value >= least for value in values) < 3:
        raise UserError(f"{path}: {key} must differ, and three of them must be at least {least}, for an exponent")
