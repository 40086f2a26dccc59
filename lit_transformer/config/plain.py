"""A config as plain JSON values and back; keys and types are checked."""

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args

from lit_transformer.config.base import Kind
from lit_transformer.errors import UserError, nearest

C = TypeVar("C")


def to_plain(config: Any) -> dict[str, Any]:
    """Return a config as nested dicts of numbers, names, booleans and None."""
    plain: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            plain[field.name] = to_plain(value)
        else:
            plain[field.name] = value.value if isinstance(value, Kind) else value
    return plain


def from_plain(kind: type[C], plain: Any, place: str) -> C:
    """Return the config of class `kind` that `to_plain` turned into `plain`; `place` is its dotted key.

    Raises `UserError` for an unknown key, a missing one, a value of another type, and what the config itself refuses.
    """
    if not isinstance(plain, dict):
        raise UserError(f"{place} is {plain!r}; it must hold keys and values")
    types = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]
    for key in plain:
        if key not in types:
            raise UserError(f"unknown key '{place}.{key}'{nearest(key, types)}")
    for key in types:
        if key not in plain:
            raise UserError(f"the key '{place}.{key}' is missing; another version wrote this, which had no such choice")
    return kind(**{key: _value(types[key], plain[key], f"{place}.{key}") for key in types})


def _value(kind: Any, value: Any, place: str) -> Any:
    """Return a value as the type of its field; an int may stand for a float, a bool for no number."""
    if isinstance(kind, UnionType):  # every union of a config is one with None
        return None if value is None else _value(get_args(kind)[0], value, place)
    if is_dataclass(kind):
        return from_plain(kind, value, place)  # type: ignore[arg-type]
    if issubclass(kind, Kind):
        members = {member.value: member for member in kind}
        if isinstance(value, str) and value in members:
            return members[value]
        raise UserError(f"{place} is {value!r}{nearest(str(value), members)} (known: {', '.join(members)})")
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise UserError(f"{place} is {value!r}; it must be of type {kind.__name__}")
