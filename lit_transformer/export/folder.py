"""A model in a folder: model.safetensors and config.json, written without pickles and read without training code.

config.json holds the format and its version, the size of the vocabulary, the special ids, the whole `ModelConfig`, the
SHA-256 of model.safetensors and, under "provenance", what the writer knows of the model's origin. A tied matrix is
stored once, under its first name.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lit_transformer.config import ModelConfig
from lit_transformer.config.plain import from_plain, to_plain
from lit_transformer.errors import UserError, nearest
from lit_transformer.tokens import BOS, EOS, PAD, UNK
from lit_transformer.transformer import Transformer, build_transformer

FORMAT = {"format": "lit_transformer", "version": 2}
SPECIAL_IDS = {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK}
TENSORS, CONFIG = "model.safetensors", "config.json"
KEYS = (*FORMAT, "vocab_size", "special_ids", "model", "sha256", "provenance")


def save_exported(network: Transformer, folder: Path | str, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a network into an existing folder, each file whole or not at all. `provenance` is plain JSON."""
    folder = Path(folder)
    save_tensors(_stored(network), folder / TENSORS)
    content = FORMAT | {
        "vocab_size": network.output_embedding.num_embeddings,
        "special_ids": SPECIAL_IDS,
        "model": to_plain(network.config),
        "sha256": hashlib.sha256((folder / TENSORS).read_bytes()).hexdigest(),
        "provenance": dict(provenance or {}),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    _write(folder / CONFIG, f"{text}\n".encode())


def load_exported(folder: Path | str) -> Transformer:
    """Return the network of an exported folder, on the CPU and in `eval()`, equal to the bit.

    Raises `UserError` in one line where a file is missing, damaged or of another format or version, where it holds an
    unknown key, and where the tensors are not those of the config.
    """
    folder = Path(folder)
    content = _read_content(folder / CONFIG)
    config, vocab_size = _read_config(folder / CONFIG, content)
    tensors = _read_tensors(folder / TENSORS, content["sha256"])
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers do not depend on the initial values
        network = build_transformer(config, vocab_size)
    targets = _stored(network)
    _check_same_names(set(tensors), set(targets), folder / TENSORS)
    with torch.no_grad():
        for name, target in targets.items():
            tensor = tensors[name]
            if (tensor.shape, tensor.dtype) != (target.shape, target.dtype):
                raise UserError(
                    f"{folder / TENSORS}: {name} is {_kind(tensor)}, but by {CONFIG} it is {_kind(target)}; "
                    "export the model again"
                )
            target.copy_(tensor)
    return network.eval()


def exported_provenance(folder: Path | str) -> dict[str, Any]:
    """Return the provenance that `save_exported` wrote; raises `UserError` as `load_exported` does."""
    return dict(_read_content(Path(folder) / CONFIG)["provenance"])


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, on any device, as a safetensors file in the format of torch, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _write(path, save(plain, metadata={"format": "pt"}))  # `save_file` would let nobody else read it


def _write(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _stored(network: Transformer) -> dict[str, Tensor]:
    """Return the stored tensors of a network: its state, each tied matrix once. Writing to them changes the network."""
    once = {name for name, _ in chain(network.named_parameters(), network.named_buffers())}
    return {name: tensor for name, tensor in network.state_dict().items() if name in once}


def _read_content(path: Path) -> dict[str, Any]:
    """Return config.json with its keys checked."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; is {path.parent} an exported model?") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); export the model again") from None
    if not isinstance(content, dict) or any(content.get(key) != value for key, value in FORMAT.items()):
        expected = ", ".join(f"{key} {value}" for key, value in FORMAT.items())
        raise UserError(f"{path} is not of {expected}; export the model again with this version, to safetensors")
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, KEYS)} (known: {', '.join(KEYS)})")
    for key in KEYS:
        if key not in content:
            raise UserError(f"{path}: the key '{key}' is missing; export the model again")
    return content


def _read_config(path: Path, content: dict[str, Any]) -> tuple[ModelConfig, int]:
    """Return the model's config and the size of its vocabulary."""
    if content["special_ids"] != SPECIAL_IDS:
        raise UserError(f"{path}: special_ids is {content['special_ids']}; this version knows only {SPECIAL_IDS}")
    size = content["vocab_size"]
    if type(size) is not int or size <= max(SPECIAL_IDS.values()):
        raise UserError(f"{path}: vocab_size is {size!r}; it must be a whole number above {max(SPECIAL_IDS.values())}")
    try:
        return from_plain(ModelConfig, content["model"], "model"), size
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; export the model again") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is damaged (its checksum does not fit); copy or export the model again")
    try:
        return load(content)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); export the model again") from None


def _check_same_names(stored: set[str], expected: set[str], path: Path) -> None:
    for what, names in (("lacks", expected - stored), ("has no place for", stored - expected)):
        if names:
            subject = f"{path} {what}" if what == "lacks" else f"{path}: the model of {CONFIG} {what}"
            raise UserError(f"{subject} {min(names)} ({len(names)} such tensors); export the model again")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
