"""A cell's config as YAML: what is no default says which layer set it, and what it replaces."""

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig, flatten, parse_override, to_dict, to_yaml, with_recipes


def marked_yaml(cell: Cell) -> str:
    """Return the resolved config of a cell under its title; a mark is a comment: `# variant one_head; base: 4`."""
    marks = _marks(cell)
    lines: list[str] = []
    sections: list[str] = []
    for line in to_yaml(cell.config).splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        sections[depth:] = [line.strip().partition(":")[0]]
        mark = marks.get(".".join(sections))
        lines.append(f"{line}  # {mark}" if mark else line)
    return "\n".join([f"# {cell.title}", *lines])


def _marks(cell: Cell) -> dict[str, str]:
    """Return by dotted key the last layer that set it, and where that replaced another value, this and its layer."""
    layers = _layers(cell)
    values = flatten(to_dict(RunConfig()))
    origins = dict.fromkeys(values, "default")
    marks: dict[str, str] = {}
    for number, settings in with_recipes([settings for _, settings in layers]):
        name = layers[number][0]
        for key, setting in flatten(dict(settings)).items():
            value = setting.name if isinstance(setting, Enum) else setting
            if origins[key] != name:
                marks[key] = f"{name}; {origins[key]}: {_plain(values[key])}"
            values[key], origins[key] = value, name
    return marks


def _layers(cell: Cell) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the layers of a cell's config by name, of which the last one wins; the seed stands in the title."""
    study = [("base", cell.study.base), (f"variant {cell.variant}", cell.study.delta(cell.variant))]
    chosen = [("tuned", parse_override(text)) for text in cell.chosen]
    return [*study, *chosen, *(("command line", parse_override(text)) for text in cell.overrides)]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
