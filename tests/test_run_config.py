"""RunConfig: defaults, merging, and one-line errors that name the key."""

import pytest

from experiments.config.run_config import RunConfig, config_hash, known_keys, read_yaml, resolve, to_dict, to_yaml
from lit_transformer.config import Positions
from lit_transformer.errors import UserError


def test_defaults_are_the_papers_base_model_and_recipe():
    config = resolve([])
    assert (config.model.d_model, config.model.encoder_layers, config.model.feed_forward.d_ff) == (512, 6, 2048)
    assert (config.model.attention.heads, config.model.attention.d_k, config.model.attention.d_v) == (8, 64, 64)
    assert (config.optim.warmup, config.optim.beta2, config.optim.label_smoothing) == (4000, 0.98, 0.1)
    assert (config.decode.beam, config.decode.alpha, config.decode.extra_length) == (4, 0.6, 50)


def test_later_layers_win_and_leave_their_neighbours_alone():
    config = resolve([{"model": {"d_model": 64, "dropout": 0.3}}, {"model": {"d_model": 32}}], ["optim.peak=1e-4"])
    assert (config.model.d_model, config.model.dropout, config.optim.peak) == (32, 0.3, 1e-4)


def test_enums_are_named_as_users_write_them():
    assert resolve([{"model": {"positions": {"kind": "learned"}}}]).model.positions.kind is Positions.learned
    assert to_dict(RunConfig())["model"]["positions"]["kind"] == "sinusoidal"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.atention.heads=3", "unknown key 'model.atention'; did you mean 'model.attention'?"),
        ("model.heads=3", "unknown key 'model.heads'; did you mean 'model.attention.heads'?"),
        ("label_smoothing=0.2", "unknown key 'label_smoothing'; did you mean 'optim.label_smoothing'?"),
        ("model.d_model=wide", "model.d_model: Value 'wide' of type 'str' could not be converted to Integer"),
        ("model.positions.kind=sinus", "model.positions.kind: Invalid value 'sinus'"),
        ("model.d_model=129", "model.d_model is 129, which is odd; sinusoidal positions"),
        ("model.attention.heads=0", "model.attention.heads is 0; it must be at least 1"),
        ("model.dropout=1.5", "model.dropout is 1.5; it must be at least 0 and below 1"),
        ("model.norm=3", "norm"),
        ("model.d_model", "is not of the form key=value"),
        ("[=0", "'[=0' is not of the form key=value"),
        ("seed=-1", "seed is -1"),
        ("model.d_model=" + "9" * 5000, "Exceeds the limit (4300 digits)"),
        ("model.d_model=" + "[" * 500, "or over 40 within one another; shorten it"),
        ("optim.peak=.inf", "optim.peak is inf; give a finite number"),
        ("data.grammar.train=99999999999999999999", "data.grammar.train is 99999999999999999999; give a number below"),
        ("data.source=${data.target}", "data.source is '${data.target}', which refers to another value"),
        ("data.vocab_size=???", "data.vocab_size is '???', which refers to another value"),
        ("data.source=no", "data.source is False in YAML, and must be text; put it in double quotes"),
        ("data.source=010", "data.source is 8 in YAML, and must be text; put it in double quotes"),
    ],
)
def test_a_bad_override_is_one_line_that_names_the_key(override: str, expected: str):
    with pytest.raises(UserError) as caught:
        resolve([], [override], where="here")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_every_known_key_can_be_read_from_a_config():
    plain, keys = to_dict(RunConfig()), list(known_keys())
    for key in keys:
        value = plain
        for part in key.split("."):
            value = value[part]
        is_section = any(other.startswith(f"{key}.") for other in keys)
        assert isinstance(value, dict) == is_section, key


def test_a_duplicate_key_in_yaml_is_refused_with_its_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("variants:\n  base: {}\n  base: {}\n")
    with pytest.raises(UserError, match=r"study\.yaml:3: .*duplicate key base"):
        read_yaml(path)


def test_broken_yaml_is_one_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: [1, 2\n")
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aliases_that_would_take_all_memory_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    path = tmp_path / "study.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="holds over 100000 values"):
        read_yaml(path)
    path.write_text("\n".join(lines[:3]))
    assert read_yaml(path)["a2"] == [[["x"] * 9] * 9] * 9


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}"])
def test_an_alias_within_itself_is_refused(tmp_path, text: str):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"study.yaml: \*a stands within itself; write out what is meant"):
        read_yaml(path)


@pytest.mark.parametrize("content", [b"a: \x00", b"a: \xff", b"a: " + b"[" * 2000, b"a: " + b"9" * 5000])
def test_what_no_reader_takes_is_one_line(tmp_path, content: bytes):
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert "  in " not in str(caught.value)


def test_exponents_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("peak: 1e-4\n")
    assert read_yaml(path) == {"peak": 1e-4}


def test_the_hash_follows_training_and_not_decoding():
    base = resolve([])
    same = config_hash(resolve([], ["decode.beam=8", "trainer.checkpoint_every=3"]), "data")
    assert config_hash(base, "data") == same
    for other in (
        config_hash(resolve([], ["model.dropout=0.2"]), "data"),
        config_hash(resolve([], ["seed=1"]), "data"),
        config_hash(base, "other data"),
    ):
        assert other != same


def test_the_yaml_of_a_config_resolves_to_that_config(tmp_path):
    config = resolve([{"model": {"positions": {"kind": "none"}}}], ["optim.peak=3e-4"])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    assert resolve([read_yaml(path)]) == config
