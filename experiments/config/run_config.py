"""RunConfig: everything one run depends on, as typed dataclasses; and the only place that reads YAML.

A run's config is the dataclass defaults, then a study's base, then a variant's delta, then overrides from the command
line. Where one of these names a recipe, the recipe's settings stand right before its own. Every key and type is checked
on the way; a mistake is one line that names the key and the nearest known one.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from data_modules.config import DataConfig
from experiments.config.bleu_tokenizer import AUTO, check_name
from lit_transformer.config import DecodeConfig, ModelConfig, OptimConfig, require
from lit_transformer.errors import UserError, nearest
from lit_transformer.recipes import Recipe, switched

if TYPE_CHECKING:  # omegaconf takes 0.15 s to import, which --help need not wait for
    from omegaconf import DictConfig


MOST_VALUES, DEEPEST = 100_000, 40
"""Limits of YAML: of its values, with aliases written out, and of values within one another."""


class Precision(StrEnum):
    """Number format of training: float32, or bfloat16 products under float32 weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"


class Matmul(StrEnum):
    """How float32 matrix products are taken, as in torch.set_float32_matmul_precision."""

    highest = "highest"
    high = "high"
    medium = "medium"


@dataclass(frozen=True)
class TrainerConfig:
    """Where and how a run is carried out."""

    accelerator: str = "auto"
    """A Lightning accelerator: auto, cpu, gpu, mps."""
    devices: int = 1
    """Devices of one node that one run takes; data.batch_tokens is shared out among all of all nodes."""
    num_nodes: int = 1
    strategy: str = "auto"
    """How several devices work together: auto, ddp, or ddp_find_unused_parameters_true."""
    precision: Precision = Precision.float32
    matmul: Matmul = Matmul.highest
    """medium lets float32 products round their factors to bfloat16 where the processor is faster at that."""
    compile: bool = False
    """torch.compile of encoder and decoder, meant for GPUs: the first steps take minutes."""
    validate_every: int = 1000
    """Optimiser steps between validations; the last step is validated anyway."""
    checkpoint_every: int = 1000
    """Optimiser steps between checkpoints; one is also written at each validation."""

    def __post_init__(self) -> None:
        for name in ("devices", "num_nodes", "validate_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value >= 1, f"trainer.{name} is {value}; it must be at least 1")
        strategies = ("auto", "ddp", "ddp_find_unused_parameters_true")
        require(
            self.strategy in strategies,
            f"trainer.strategy is '{self.strategy}'; it must be one of {', '.join(strategies)}",
        )
        known = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
        require(
            self.accelerator in known,
            f"trainer.accelerator is '{self.accelerator}'; it must be one of {', '.join(known)}",
        )


@dataclass(frozen=True)
class ScoringConfig(DecodeConfig):
    """How the test sets are translated, and what BLEU counts in the translations."""

    bleu_tokenizer: str = AUTO
    """A tokenizer of sacreBLEU, such as 13a, zh, ja-mecab, char; auto takes the one of the target language."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.bleu_tokenizer)


class LoggerKind(StrEnum):
    """A logger beside W&B."""

    tensorboard = "tensorboard"
    csv = "csv"


@dataclass(frozen=True)
class TrackingConfig:
    """What is logged of a run. None of it changes a result: it is part of no hash, and makes no stage stale."""

    loggers: list[LoggerKind] = field(default_factory=list)
    """Loggers beside W&B, in folders of their names in the run's folder."""
    probes: bool = True
    """Log what the probe measures to W&B; probe.csv holds it in any case."""
    upload_model: bool = False
    """Upload the trained model to W&B, instead of referring to the files where they are."""


@dataclass(frozen=True)
class RunConfig:
    """One run: what is built, on what data, how it is trained, where, how it is decoded, from which seed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    decode: ScoringConfig = field(default_factory=ScoringConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    seed: int = 0
    recipe: Recipe = Recipe.paper
    """The last recipe that a layer of the config named, for the record; `resolve` has set its settings."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, f"seed is {self.seed}; it must be at least 0 and below 2^31")


def resolve(layers: Sequence[dict[str, Any]], overrides: Sequence[str] = (), where: str = "config") -> RunConfig:
    """Merge nested dicts, then `key=value` overrides, over the defaults; raise `UserError` for a bad key or value."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        written = [*layers, *map(parse_override, overrides)]
        for layer in written:
            _check_literal(layer)
        settings = [own for _, own in with_recipes(written)]
        resolved = OmegaConf.to_object(OmegaConf.merge(_defaults(), *settings))
        _check_finite(resolved)
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{where}: {_explain(error)}") from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    assert isinstance(resolved, RunConfig)
    return resolved


def parse_override(text: str) -> dict[str, Any]:
    """Return `key=value` as a nested dict; raises UserError where it is of another form."""
    from omegaconf import OmegaConf

    _, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"'{text}' is not of the form key=value, as in model.d_model=256")
    check_extent(value, f"'{text[:60]}'")
    try:
        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.from_dotlist([text])))
    except IndexError:  # a key of brackets alone
        raise UserError(f"'{text[:60]}' is not of the form key=value, as in model.d_model=256") from None
    except ValueError as error:  # of int(), for too many digits
        raise UserError(f"'{text[:60]}...': {error}") from None


def _check_literal(value: Any, key: str = "") -> None:
    """Refuse what OmegaConf would put something else for: a reference, even to an environment variable, and "???".

    And what YAML does, for a setting that is text: `no` is a truth value, and 010 is eight.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_literal(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, str) and ("${" in value or value == "???"):
        raise UserError(f"{key} is '{value}', which refers to another value; write the value itself")
    elif isinstance(value, bool | int | float) and key in _text_settings():
        raise UserError(f"{key} is {value} in YAML, and must be text; put it in double quotes")


@cache
def _text_settings() -> set[str]:
    return {key for key in known_keys() if type(attrgetter(key)(RunConfig())) is str}


def _check_finite(config: Any) -> None:
    """Refuse numbers that no computation can use, which JSON and YAML do not write alike either."""
    for key, value in flatten(to_dict(config)).items():
        if isinstance(value, float):
            require(math.isfinite(value), f"{key} is {value}; give a finite number")
        elif isinstance(value, int):
            require(abs(value) < 2**63, f"{key} is {value}; give a number below 2^63")


def with_recipes(layers: Sequence[Mapping[Any, Any]]) -> Iterator[tuple[int, Mapping[Any, Any]]]:
    """Yield the settings of the layers, each with the number of its layer.

    Before those of a layer that names a recipe comes what leads to it from the recipe before, at first the paper.
    """
    before = Recipe.paper
    for number, layer in enumerate(layers):
        if "recipe" in layer:
            recipe = _recipe(layer["recipe"])
            yield number, switched(before, recipe)
            before = recipe
        yield number, layer


def _recipe(name: Any) -> Recipe:
    for recipe in Recipe:
        if name in (recipe, recipe.value):
            return recipe
    known = [recipe.value for recipe in Recipe]
    raise UserError(f"recipe is '{name}'{nearest(name, known)} (recipes: {', '.join(known)})")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file as a plain nested dict; duplicate keys and bad syntax are a `UserError` with the line."""
    from omegaconf import OmegaConf
    from omegaconf.errors import KeyValidationError, OmegaConfBaseException
    from yaml import YAMLError

    try:
        check_extent(path.read_text(encoding="utf-8"), str(path))
        loaded = OmegaConf.load(path)
        content = cast(dict[str, Any], OmegaConf.to_container(loaded))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: {getattr(error, 'problem', None) or str(error).splitlines()[0]}") from None
    except KeyValidationError:
        raise UserError(f"{path}: a key is null or ~, which is no text in YAML; put the name in quotes") from None
    except (OmegaConfBaseException, ValueError) as error:  # bytes that are no UTF-8, and numbers of too many digits
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values at the top level")
    return content


def check_extent(text: str, where: str) -> None:
    """Raise UserError for YAML that would take all memory or a too deep recursion to read, its aliases written out."""
    import yaml

    anchors: dict[str, int] = {}
    """The number of values that each anchor stands for."""
    open_collections: list[tuple[str | None, int]] = []
    """Those that the reader is inside of: the anchor, and the number of values before it."""
    values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_collections.append((event.anchor, values))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_collections.pop()
            anchors |= {anchor: values - before} if anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_collections):
                raise UserError(f"{where}: *{event.anchor} stands within itself; write out what is meant")
            values += anchors.get(event.anchor or "", 1)
        values += isinstance(event, yaml.NodeEvent)
        if values > MOST_VALUES or len(open_collections) > DEEPEST:
            raise UserError(
                f"{where} holds over {MOST_VALUES} values, or over {DEEPEST} within one another; shorten it"
            )


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested plain dicts, enums as their names."""
    return asdict(config, dict_factory=lambda items: {k: v.name if isinstance(v, Enum) else v for k, v in items})


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def to_yaml(config: RunConfig) -> str:
    """Return a config as YAML text."""
    return yaml_text(to_dict(config))


def yaml_text(content: dict[str, Any]) -> str:
    """Return nested plain dicts as YAML text."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(content))


def config_hash(config: RunConfig, data_hash: str) -> str:
    """Return 12 hex digits of the settings and data that the trained weights depend on: not decoding, not checkpoints.

    Nor tracking, nor the recipe's name: its settings are there, and train the same weights without the name. Nor the
    corpus's revision: the data are there.
    """
    plain = to_dict(config)
    plain["data"].pop("revision")
    for key in ("decode", "tracking", "recipe"):
        plain.pop(key)
    for key in ("accelerator", "checkpoint_every"):
        plain["trainer"].pop(key)
    return short_hash([plain, data_hash])


def short_hash(content: Any) -> str:
    """Return 12 hex digits of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def known_keys(kind: Any = RunConfig, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config class, sections included."""
    for item in fields(kind):
        yield prefix + item.name
        if is_dataclass(item.type):
            yield from known_keys(item.type, f"{prefix}{item.name}.")


@cache
def _defaults() -> "DictConfig":
    """Return the defaults, to be merged into a copy; half of the time of a merge goes into making them."""
    from omegaconf import OmegaConf

    config: DictConfig = OmegaConf.structured(RunConfig)
    _unlock(config)
    return config


def _unlock(node: "DictConfig") -> None:
    """Let a merge write into frozen dataclasses' nodes; the objects built from them are frozen again."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _unlock(child)


def _explain(error: Exception) -> str:
    first = str(error).splitlines()[0]
    key = getattr(error, "full_key", None) or ""
    if section := re.search(r"is not a subclass of (\w+)\. value: (.*)", first):
        return f"{_section_of(section[1])} is {section[2]}; it is a section and must hold keys and values"
    if "not in" in first and first.startswith("Key"):
        return f"unknown key '{key}'{_nearest_key(key)}"
    return f"{key}: {first}" if key else first


def _nearest_key(key: str) -> str:
    """Suggest a known key: of the same section if one is close, else of any section by its last word."""
    known = list(known_keys())
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    return _same_leaf(key, known) or nearest(key, siblings) or nearest(key, known) or f"; known: {', '.join(siblings)}"


def _section_of(class_name: str) -> str:
    """Return the dotted key of the section that a config class describes."""
    plain = RunConfig()
    for key in known_keys():
        if type(attrgetter(key)(plain)).__name__ == class_name:
            return key
    return class_name


def _same_leaf(key: str, known: list[str]) -> str:
    leaf = key.rpartition(".")[2]
    same = [name for name in known if name.rpartition(".")[2] == leaf]
    return f"; did you mean '{min(same, key=len)}'?" if same else ""
