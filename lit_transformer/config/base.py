"""Base of all configs: enums whose members know their source, options that do, and checks with one-line errors."""

from dataclasses import field
from enum import Enum
from typing import Any, Self

from lit_transformer.errors import UserError


class Kind(Enum):
    """A choice: each member has its name as its value, a description in one line, and the publication it comes from."""

    about: str
    source: str

    def __new__(cls, name: str, about: str, source: str) -> Self:
        member = object.__new__(cls)
        member._value_ = name
        member.about = about
        member.source = source
        return member

    def __str__(self) -> str:
        return str(self.value)

    @property
    def companions(self) -> "dict[str, Kind]":
        """Settings of the same section that its source has otherwise than our defaults, by name."""
        return {}


def option(default: Any, about: str, source: str) -> Any:
    """Return a dataclass field for a number or switch that is a component of its own, with its source."""
    return field(default=default, metadata={"about": about, "source": source})


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


def require_at_least_one(config: Any, place: str, *names: str) -> None:
    """Raise unless each named field of a config is at least 1."""
    for name in names:
        value = getattr(config, name)
        require(value >= 1, f"{place}.{name} is {value}; it must be at least 1")


def require_probability(name: str, value: float) -> None:
    """Raise unless 0 <= value < 1: the range of a dropout rate or a label smoothing."""
    require(0.0 <= value < 1.0, f"{name} is {value}; it must be at least 0 and below 1")
