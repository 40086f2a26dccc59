"""Whether DVC reads a study.yaml as we do: it follows YAML 1.2, where `no` is text and `010` is ten.

The stages take names of variants and seeds from DVC's reading, and the program from ours. Where they differ, a stage
would run one thing and the report count another.
"""

from pathlib import Path
from typing import Any

from lit_transformer.errors import UserError


def check_read_alike(content: Any, path: Path) -> None:
    """Raise UserError where DVC reads a file otherwise than `content`, what we have read of it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        dvcs = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}: DVC cannot read it: {reason}") from None
    difference = first_difference(content, dvcs)
    if difference:
        where, ours, other = difference
        text = next((f', as "{value}"' for value in (other, ours) if isinstance(value, str)), "")
        raise UserError(
            f"{path}: {where} is {ours!r} as this program reads it and {other!r} as DVC does; "
            f"write text in quotes{text}, a number in plain decimals, and true or false for a switch"
        )


def first_difference(ours: Any, dvcs: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """Return the dotted key of the first place where two readings differ, and what each has there; None for none."""
    if isinstance(ours, dict) and isinstance(dvcs, dict):
        for own, other in zip(ours, dvcs, strict=False):
            if type(own) is not type(other) or own != other:
                return (f"a key of {where}" if where else "a key"), own, other
            if found := first_difference(ours[own], dvcs[other], f"{where}.{own}" if where else str(own)):
                return found
    elif isinstance(ours, list) and isinstance(dvcs, list):
        for own, other in zip(ours, dvcs, strict=False):
            if found := first_difference(own, other, where):
                return found
    else:
        alike = type(ours) is type(dvcs) and (ours == dvcs or ours != ours)  # nan differs from itself
        return None if alike else (where, ours, dvcs)
    return None if len(ours) == len(dvcs) else (where, ours, dvcs)
