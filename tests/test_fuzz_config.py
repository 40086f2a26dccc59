"""Studies and overrides that nobody meant: refused in one line, or the same to us, to DVC and to a shell."""

import re
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st
from ruamel.yaml import YAML

from experiments.config.cell import cells_of
from experiments.config.run_config import RunConfig, flatten, known_keys, resolve
from experiments.config.stages import rendered
from experiments.config.study import Study, load_study
from tests.fuzzing import ODD_TEXT, edited, fuzzed, succeeded
from tests.tiny_study import study_yaml

STUDY = study_yaml("{seeds: [0, 1], looks: {2: 1.0}, labels: {base: the baseline}, ensembles: [], margin: 1.0}")
SECTIONS = [key for key in known_keys() if hasattr(attrgetter(key)(RunConfig()), "__dataclass_fields__")]
SETTINGS = [key for key in known_keys() if key not in SECTIONS]

numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from((2**31, 2**63, 10**30, -(2**64))),
    st.floats(),
    st.sampled_from((0.1, 1e-3, 2.0)),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from(ODD_TEXT), st.text(max_size=8))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(scalars, inner, max_size=3)),
    max_leaves=4,
)


@st.composite
def changed_studies(draw: st.DrawFn) -> bytes:
    """The tiny study with values replaced, keys dropped, renamed and added, at any depth."""
    content = yaml.safe_load(STUDY)
    for _ in range(draw(st.integers(1, 3))):
        place = content
        while True:
            key = draw(st.sampled_from(list(place)))
            if not isinstance(place[key], dict) or not place[key] or draw(st.integers(0, 3)) == 0:
                break
            place = place[key]
        match draw(st.sampled_from(("replace", "replace", "add", "rename", "drop"))):
            case "replace":
                place[key] = draw(values)
            case "add":
                place[draw(st.one_of(scalars, st.sampled_from(SETTINGS)))] = draw(values)
            case "rename":
                place[draw(scalars)] = place.pop(key)
            case "drop":
                del place[key]
        if not content:
            break
    return yaml.safe_dump(content, allow_unicode=draw(st.booleans())).encode()


SYNTAX = (": ", "- ", "? ", "{", "[", "]", "<<: ", "---\n", "&a ", "*a", "#", "|", ">", "\r\n")
BYTES = (b"\xff", b"\xc3", b"\x00", b"\xfe\xff", b"\xef\xbb\xbf", b"[" * 500, b"9" * 5000)
YAML_PIECES = (*(piece.encode() for piece in (*ODD_TEXT, *SYNTAX)), *BYTES)
studies = st.one_of(changed_studies(), edited(STUDY.encode(), YAML_PIECES))


@fuzzed(60, 2500, content=studies)
def test_any_study(study_path: Path, content: bytes) -> None:
    study_path.write_bytes(content)
    study = succeeded(load_study, "tiny")
    if study is None:
        return
    _has_safe_names(study)
    dvcs = YAML(typ="safe").load(study_path.read_text(encoding="utf-8"))
    assert list(dvcs["variants"]) == list(study.variants)
    assert dvcs["seeds"] == study.seeds
    for cell in cells_of(study):
        assert cell.config.seed == cell.seed
        assert cell.run_folder.resolve().is_relative_to(Path("runs").resolve())
        assert cell.training_folder.resolve().is_relative_to(study.folder.resolve())
    for variant, delta in study.variants.items():
        config = study.config(variant, study.seeds[0])
        _has_values(config, delta)
        _has_values(config, {} if "recipe" in delta else _without(study.base, flatten(delta)))
    assert yaml.safe_load(rendered("dvc.template.yaml", study.folder / "dvc.yaml", "tiny"))["stages"]
    assert not Path("x").exists()


keys = st.one_of(st.sampled_from(SETTINGS), st.sampled_from(SECTIONS + SETTINGS + list(ODD_TEXT)), st.text(max_size=12))
texts = st.one_of(
    numbers.map(str),
    st.sampled_from(ODD_TEXT),
    st.text(max_size=12),
    st.sampled_from(("true", "[1]", "{a: 1}", "rms", "pre")),
)


@fuzzed(100, 2500, key=keys, sign=st.sampled_from(("=", "=", "=", "=", "", " = ")), text=texts)
def test_any_override(key: str, sign: str, text: str) -> None:
    config = succeeded(resolve, [], [f"{key}{sign}{text}"])
    if config is None:
        return
    assert sign == "="
    assert key in known_keys()
    written = yaml.safe_load(text)
    _has_values(config, {key: written})
    own, defaults = (dict(_settings(plain)) for plain in (config, RunConfig()))
    changed = {name for name in own if own[name] != defaults[name]}
    assert all(name == key or name.startswith(f"{key}.") for name in changed) or key == "recipe"


def _settings(config: RunConfig) -> list[tuple[str, Any]]:
    return [(key, attrgetter(key)(config)) for key in SETTINGS]


def _without(nested: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flatten(nested).items() if key not in keys}


def _has_safe_names(study: Study) -> None:
    for name in [study.name, *study.variants]:
        assert re.fullmatch(r"\w[\w-]*", name, flags=re.ASCII)
        assert len(name) <= 100


def _has_values(config: RunConfig, written: dict[str, Any]) -> None:
    """Assert that a config holds what was written, number for number and letter for letter."""
    for key, value in flatten(written).items():
        own = attrgetter(key)(config)
        if isinstance(own, Enum):
            assert str(value) in (own.name, str(own.value))
        elif isinstance(own, bool):
            assert own == _switched_on(value), (key, value)
        elif isinstance(own, int | float) and not isinstance(value, bool):
            assert own == float(value), (key, value)
        else:
            assert own == value or value == {}, (key, value)


def _switched_on(value: Any) -> bool:
    """Return what a word of YAML, or a number, says of a switch."""
    word = str(value).lower()
    return word in ("true", "yes", "y", "on") or (word not in ("false", "no", "n", "off") and int(value) != 0)
