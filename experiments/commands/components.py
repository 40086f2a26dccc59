"""List every component: each axis, its members with their sources, and the line of a study that selects one.

    python -m experiments components               all of them
    python -m experiments components norm alibi    those that match one of these words

A `*` marks the default, which is the paper's. The list is read from the config classes themselves.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from experiments.config.run_config import RunConfig
from lit_transformer.config import Kind
from lit_transformer.errors import UserError, nearest

if TYPE_CHECKING:
    from rich.console import Console

PLACES = "model.encoder_attention, model.decoder_attention and model.cross_attention set what differs there"


@dataclass(frozen=True)
class Entry:
    """A member of an axis, or an option: how it is selected, what it is, where it comes from."""

    name: str
    default: bool
    about: str
    source: str
    lines: tuple[str, ...]
    """Flow YAML that selects it, to be written behind a variant's name: one line per key of the axis."""

    def matches(self, words: Sequence[str]) -> bool:
        """Return whether one of the words is in its printed text."""
        text = " ".join((self.name, self.about, self.source, *self.lines)).lower()
        return any(word.lower() in text for word in words)


@dataclass(frozen=True)
class Axis:
    """Choices that exclude each other, or the options of a section."""

    keys: tuple[str, ...]
    about: str
    entries: tuple[Entry, ...]
    numbers: str = ""
    """The section's plain settings with their defaults: "max_length 256, distance 16"."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the axes, or the entries that match one of the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="show only what matches one of these words")
    words = parser.parse_args(argv).words
    axes = [axis for axis in every_axis() if not words or _matching(axis, words).entries]
    if not axes:
        known = [entry.name for axis in every_axis() for entry in axis.entries]
        raise UserError(f"no component has {' or '.join(words)} in it{nearest(words[0], known)}")
    from rich.console import Console

    console = Console(highlight=False)
    for axis in axes:
        _print(console, _matching(axis, words) if words else axis)
    if not words:
        console.print(_count_line(axes), style="dim", soft_wrap=True)


def every_axis() -> list[Axis]:
    """Return every axis of a run's config; sections of one class, such as the two stacks' mixers, are one axis."""
    keys: dict[tuple[type, str], list[str]] = {}
    values: dict[tuple[type, str], Any] = {}
    for prefix, section in _sections(RunConfig(), ""):
        for item in fields(section):
            value = getattr(section, item.name)
            if isinstance(value, Kind):
                keys.setdefault((type(value), item.name), []).append(f"{prefix}{item.name}")
                values[type(value), item.name] = (section, value)
        if any("about" in item.metadata for item in fields(section)):
            keys[type(section), ""] = [prefix.rstrip(".")]
            values[type(section), ""] = (section, None)
    return [_axis(tuple(keys[axis]), *values[axis]) for axis in keys]


def _axis(keys: tuple[str, ...], section: Any, value: Kind | None) -> Axis:
    if value is None:
        options = [item for item in fields(section) if "about" in item.metadata]
        about = "Options of this section; each is a setting of its own."
        return Axis(keys, about, tuple(_option(keys[0], section, item) for item in options))
    kind = type(value)
    entries = tuple(
        Entry(member.name, member is value, member.about, member.source, _lines(keys, member)) for member in kind
    )
    main_choice = keys[0].endswith(".kind")
    return Axis(keys, (kind.__doc__ or "").splitlines()[0], entries, _numbers(section) if main_choice else "")


def _lines(keys: tuple[str, ...], member: Kind) -> tuple[str, ...]:
    """Return the lines that select a member as its source has it, without those that every config refuses."""
    companions = {name: other.name for name, other in member.companions.items()}
    return tuple(flow(key, member.name, companions) for key in keys if _is_possible(key, member))


def _is_possible(key: str, member: Kind) -> bool:
    try:
        _changed(RunConfig(), key.split("."), member)
    except UserError:
        return False
    return True


def _changed(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return replace(config, **{head: _changed(getattr(config, head), rest, value) if rest else value})


def _option(key: str, section: Any, item: Any) -> Entry:
    value = getattr(section, item.name)
    example = {False: "true", True: "false"}.get(value, "...") if isinstance(value, bool) else "..."
    line = flow(f"{key}.{item.name}", example)
    about, source = item.metadata["about"], item.metadata["source"]
    return Entry(f"{item.name} ({_plain(value)})", False, about, source, (line,))


def _numbers(section: Any) -> str:
    plain = [item for item in fields(section) if not isinstance(getattr(section, item.name), Kind)]
    named = [item for item in plain if "about" not in item.metadata and not is_dataclass(getattr(section, item.name))]
    return ", ".join(f"{item.name} {_plain(getattr(section, item.name))}" for item in named)


def _plain(value: Any) -> str:
    if value is None:
        return "as model.dropout"
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else f"{value:g}"


def _sections(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield each section with the prefix of its keys; those that set attention apart repeat another's keys."""
    yield prefix, config
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and not item.name.endswith("_attention"):
            yield from _sections(value, f"{prefix}{item.name}.")


def flow(key: str, value: str, companions: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a dotted key, its value and those beside it as flow YAML: "{model: {positions: {kind: alibi}}}"."""
    parts = key.split(".")
    beside = "".join(f", {name}: {other}" for name, other in companions.items())
    return "{" + ": {".join(parts) + f": {value}{beside}" + "}" * len(parts)


def _matching(axis: Axis, words: Sequence[str]) -> Axis:
    if any(word.lower() in key for word in words for key in axis.keys):
        return axis
    return Axis(axis.keys, axis.about, tuple(entry for entry in axis.entries if entry.matches(words)), axis.numbers)


def _count_line(axes: Sequence[Axis]) -> str:
    members = sum(len(axis.entries) for axis in axes)
    return f"{members} choices on {len(axes)} axes; {PLACES}. Settings: lit_transformer/config/."


def _print(console: "Console", axis: Axis) -> None:
    """Print an axis: its keys, then two lines per entry, which wrap only at the terminal's edge."""
    from rich.text import Text

    console.print(Text(" · ".join(axis.keys), style="bold"), Text(axis.about, style="dim"), sep="  ", soft_wrap=True)
    for entry in axis.entries:
        mark = "*" if entry.default else " "
        line = Text.assemble(f"  {mark} ", (entry.name, "cyan"), f": {entry.about} ", (f"[{entry.source}]", "dim"))
        console.print(line, soft_wrap=True)
        for selects in entry.lines:
            console.print(Text(f"      {selects}", style="green"), soft_wrap=True)
    if axis.numbers:
        console.print(Text(f"    settings: {axis.numbers}", style="dim"), soft_wrap=True)
    console.print()
