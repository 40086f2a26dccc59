"""A wrong value gets one line that names its key; every default is valid."""

import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace

import pytest

import lit_transformer
from lit_transformer import config
from lit_transformer.config import (
    AttentionConfig,
    AttentionDelta,
    DecodeConfig,
    FeedForwardConfig,
    Kind,
    ModelConfig,
    NormConfig,
    OptimConfig,
    PositionConfig,
    Positions,
    Schedule,
)
from lit_transformer.errors import UserError, nearest

CLASSES = {
    "model": ModelConfig,
    "model.attention": AttentionConfig,
    "model.feed_forward": FeedForwardConfig,
    "model.positions": PositionConfig,
    "model.norm": NormConfig,
    "optim": OptimConfig,
    "decode": DecodeConfig,
}
NAN = float("nan")
WRONG = [
    *[("model", name, value) for name in ("d_model", "encoder_layers", "decoder_layers") for value in (0, -2)],
    *[("model.attention", name, value) for name in ("heads", "d_k", "d_v") for value in (0, -1)],
    *[
        (place, "dropout", value)
        for place in ("model", "model.attention", "model.feed_forward")
        for value in (1.5, 1.0)
    ],
    *[
        (place, "dropout", value)
        for place in ("model", "model.attention", "model.feed_forward")
        for value in (-0.1, NAN)
    ],
    ("model.feed_forward", "d_ff", 0),
    ("model.positions", "max_length", 0),
    ("model.norm", "eps", 0.0),
    ("optim", "steps", 0),
    ("optim", "warmup", -1),
    ("optim", "warmup", 0),
    ("optim", "peak", 0.0),
    ("optim", "multiplier", -1.0),
    ("optim", "clip_norm", -1.0),
    ("optim", "accumulate", 0),
    ("optim", "beta1", 1.0),
    ("optim", "beta2", -0.5),
    ("optim", "label_smoothing", 1.0),
    ("optim", "r_drop", -1.0),
    ("decode", "beam", 0),
    ("decode", "beam", 8193),  # more hypotheses than decode.batch_tokens
    ("decode", "alpha", -0.1),
    ("decode", "extra_length", -1),
    ("decode", "extra_length", 8193),
    ("decode", "batch_tokens", 0),
]


@pytest.mark.parametrize(("place", "name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_its_key(place: str, name: str, value: float) -> None:
    with pytest.raises(UserError) as error:
        CLASSES[place](**{name: value})
    message = str(error.value)
    assert message.startswith(f"{place}.{name} is {value}")
    assert "\n" not in message
    assert "must be" in message or "choose" in message  # says what to do


def test_an_odd_width_needs_other_positions_than_sinusoids() -> None:
    with pytest.raises(UserError, match=r"model\.d_model is 15, which is odd.*model\.positions\.kind"):
        ModelConfig(d_model=15)
    for kind in (Positions.learned, Positions.none):
        assert ModelConfig(d_model=15, positions=PositionConfig(kind=kind)).d_model == 15


def test_only_the_papers_schedule_needs_a_warm_up() -> None:
    for kind in Schedule:
        if kind is not Schedule.paper:
            assert OptimConfig(schedule=kind, warmup=0).warmup == 0


@pytest.mark.parametrize("place", CLASSES)
def test_defaults_are_valid_frozen_and_comparable(place: str) -> None:
    config = CLASSES[place]()
    assert config == CLASSES[place]()
    with pytest.raises(FrozenInstanceError):
        setattr(config, next(iter(vars(config))), 3)


def test_a_wide_beam_needs_a_large_batch() -> None:
    assert DecodeConfig(beam=8192).beam == 8192
    assert DecodeConfig(beam=10_000, batch_tokens=10_000).beam == 10_000
    with pytest.raises(UserError, match=r"decode\.beam is 100000000, more than decode\.batch_tokens, 8192"):
        DecodeConfig(beam=100_000_000)


def test_replace_checks_again() -> None:
    with pytest.raises(UserError, match=r"model\.dropout"):
        replace(ModelConfig(), dropout=2.0)


def test_head_widths_are_free_of_d_model() -> None:
    config = ModelConfig(d_model=10, attention=AttentionConfig(heads=3, d_k=5, d_v=7))
    assert config.attention.heads * config.attention.d_k != config.d_model


def test_nearest_suggests_only_what_is_close() -> None:
    assert nearest("dropuot", ["dropout", "heads"]) == "; did you mean 'dropout'?"
    assert nearest("zebra", ["dropout", "heads"]) == ""


def test_a_delta_has_the_fields_of_attention_each_with_none() -> None:
    assert [field.name for field in fields(AttentionDelta)] == [field.name for field in fields(AttentionConfig)]
    for delta, whole in zip(fields(AttentionDelta), fields(AttentionConfig), strict=True):
        assert delta.type == whole.type | None
        assert delta.default is None
    assert pickle.loads(pickle.dumps(AttentionDelta(heads=2))) == AttentionDelta(heads=2)


def kinds() -> list[type[Kind]]:
    return [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, Kind)]


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind is not Kind])
def test_members_are_named_as_they_are_written_and_know_their_source(kind: type[Kind]) -> None:
    for member in kind:
        assert member.name == member.value == str(member) == f"{member}"
        assert kind(member.value) is member
        assert member.about
        assert member.source


@pytest.mark.parametrize(
    "module", ["lit_transformer", "lit_transformer.config", "lit_transformer.errors", "lit_transformer.recipes"]
)
def test_import_without_torch(module: str) -> None:
    """So that every --help answers at once."""
    code = f"import sys, {module}; print({{'torch', 'numpy', 'pytorch_lightning'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_lazy_names() -> None:
    for name in lit_transformer.__all__:
        assert getattr(lit_transformer, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'lit_transformer' has no attribute 'Transformers'"):
        _ = lit_transformer.Transformers
