"""Exported folders: the same numbers to the bit for every variant, and every mistake in them reported in one line."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

import lit_transformer
from lit_transformer.config import ModelConfig, Tying
from lit_transformer.config.plain import from_plain, to_plain
from lit_transformer.errors import UserError
from lit_transformer.export import exported_provenance, load_exported, save_exported
from tests.small_export import reseal
from tests.small_models import BASE, VOCAB, batch_of, build, chosen, every_variant


@every_variant
def test_a_loaded_network_has_the_same_logits_to_the_bit(config: ModelConfig, tmp_path: Path) -> None:
    network = build(config).eval()
    save_exported(network, tmp_path)
    before = torch.random.get_rng_state()
    loaded = load_exported(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.training
    assert loaded.config == config
    expected, found = network.state_dict(), loaded.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    batch = batch_of()
    assert torch.equal(loaded.logits(loaded.hidden(batch)), network.logits(network.hidden(batch)))


@pytest.mark.parametrize(("tying", "matrices"), [(Tying.three_way, 1), (Tying.two_way, 2), (Tying.none, 3)])
def test_a_tied_matrix_is_stored_once_and_stays_tied(tying: Tying, matrices: int, tmp_path: Path) -> None:
    network = build(chosen(BASE, "embeddings.tying", tying))
    save_exported(network, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert sum(tensor.shape == (VOCAB, BASE.d_model) for tensor in stored.values()) == matrices
    assert sum(tensor.numel() for tensor in stored.values()) == sum(p.numel() for p in network.parameters())
    loaded = load_exported(tmp_path)
    assert (loaded.output_embedding is loaded.tgt_embedding.vectors) == (tying is not Tying.none)
    assert (loaded.output_embedding is loaded.src_embedding.vectors) == (tying is Tying.three_way)


@every_variant
def test_a_config_survives_json(config: ModelConfig) -> None:
    assert from_plain(ModelConfig, json.loads(json.dumps(to_plain(config))), "model") == config


def sections(config: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every section of a config, itself first."""
    inner = [(field.name, getattr(config, field.name)) for field in fields(config)]
    return [path, *(p for name, value in inner if is_dataclass(value) for p in sections(value, (*path, name)))]


def damaged(path: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a plain config and its section at a path, to change."""
    plain = section = to_plain(BASE)
    for name in path:
        section = section[name]
    return plain, section


@pytest.mark.parametrize("path", sections(BASE), ids=".".join)
def test_a_key_too_many_or_too_few_is_refused_in_every_section(path: tuple[str, ...]) -> None:
    plain, section = damaged(path)
    section["surprise"] = 1
    place = ".".join(["model", *path])
    with pytest.raises(UserError, match=rf"^unknown key '{place}\.surprise'"):
        from_plain(ModelConfig, plain, "model")
    del section["surprise"]
    key = list(section)[-1]
    del section[key]
    with pytest.raises(UserError, match=rf"^the key '{place}\.{key}' is missing"):
        from_plain(ModelConfig, plain, "model")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("attention",), 3, "model.attention is 3; it must hold keys"),
        (("attention", "heads"), 2.0, "model.attention.heads is 2.0; it must be of type int"),
        (("attention", "heads"), True, "model.attention.heads is True; it must be of type int"),
        (("attention", "heads"), None, "model.attention.heads is None; it must be of type int"),
        (("attention", "bias"), 0, "model.attention.bias is 0; it must be of type bool"),
        (("attention", "score"), "dott", "model.attention.score is 'dott'; did you mean 'dot'"),
        (("cross_attention", "score"), 3, "model.cross_attention.score is 3 "),
        (("dropout_at", "mixer"), "0.1", "model.dropout_at.mixer is '0.1'; it must be of type float"),
        (("attention", "d_k"), 0, "model.attention.d_k is 0; it must be at least 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(path: tuple[str, ...], value: Any, message: str) -> None:
    plain, section = damaged(path[:-1])
    section[path[-1]] = value
    with pytest.raises(UserError) as error:
        from_plain(ModelConfig, plain, "model")
    assert str(error.value).startswith(message)


def test_whole_numbers_and_none_stand_for_floats() -> None:
    plain, section = damaged(("dropout_at",))
    plain["dropout"], section["mixer"], section["cross"] = 0, 0, None
    config = from_plain(ModelConfig, plain, "model")
    assert (config.dropout, config.dropout_at.mixer, config.dropout_at.cross) == (0.0, 0.0, None)
    assert isinstance(config.dropout, float)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_exported(build(BASE), tmp_path, {"study": "components"})
    return tmp_path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_exported(folder)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refused(folder).startswith(f"cannot read {folder / name}: No such file or directory")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "another"}, "is not of format lit_transformer, version 3"),
        ({"version": 1}, "is not of format lit_transformer, version 3"),
        ({"vocabsize": 3}, "unknown key 'vocabsize'; did you mean 'vocab_size'?"),
        ({"special_ids": {"pad": 1}}, "special_ids is {'pad': 1}"),
        ({"vocab_size": "23"}, "vocab_size is '23'; it must be a whole number above 3"),
        (
            {"vocab_size": 24},
            "vectors.weight is float32 [23, 16], but by config.json it is float32 [24, 16]",
        ),
        ({"model": {}}, "the key 'model.d_model' is missing"),
    ],
)
def test_a_config_that_is_not_the_models_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    reseal(folder, **changes)
    line = refused(folder)
    assert message in line
    assert str(folder) in line


def test_a_missing_key_is_refused(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    del content["provenance"]
    (folder / "config.json").write_text(json.dumps(content))
    assert "the key 'provenance' is missing" in refused(folder)


def test_broken_files_are_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    tensors = folder / "model.safetensors"
    damaged = (
        f"{tensors} or config.json beside it is damaged (the checksum does not fit); copy or export the model again"
    )
    assert refused(folder) == damaged
    (folder / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # one bit of a weight
    assert refused(folder) == damaged
    (folder / "model.safetensors").write_bytes(whole[:-1])
    reseal(folder)
    assert "is not a whole safetensors file" in refused(folder)
    (folder / "config.json").write_text("{")
    assert "is not valid JSON" in refused(folder)


def test_a_config_that_was_damaged_is_refused(folder: Path) -> None:
    """A digit of an epsilon fits all tensors, and makes another model."""
    path = folder / "config.json"
    whole = path.read_text()
    path.write_text(whole.replace('"eps": 1e-06', '"eps": 1e-02'))
    assert path.read_text() != whole
    assert refused(folder).endswith("is damaged (the checksum does not fit); copy or export the model again")


def test_the_provenance_is_read_without_the_tensors(folder: Path) -> None:
    reseal(folder, version=4)
    with pytest.raises(UserError, match="is not of format lit_transformer, version 3"):
        exported_provenance(folder)
    reseal(folder, version=3)
    (folder / "model.safetensors").unlink()
    assert exported_provenance(folder) == {"study": "components"}


def test_a_failed_export_leaves_the_old_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_exported(build(BASE), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_tensors_of_another_model_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load(path.read_bytes())

    def save_file(tensors: dict[str, Tensor], path: Path) -> None:
        path.write_bytes(save(tensors))
        reseal(folder)

    save_file(tensors | {"more": torch.ones(1)}, path)
    assert "has no place for more (1 such tensors)" in refused(folder)
    name = next(iter(tensors))
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path)
    assert f"lacks {name} (1 such tensors)" in refused(folder)
    save_file(tensors | {name: tensors[name].double()}, path)
    assert f"{name} is float64" in refused(folder)


def test_the_package_offers_the_reader() -> None:
    assert lit_transformer.load_exported is load_exported
