"""A model in a folder: model.safetensors and config.json, written without pickles and read without training code.

config.json holds the format and its version, the size of the vocabulary, the special ids, the whole `ModelConfig` and,
under "provenance", whatever the writer knows of where the model comes from. A matrix that is tied is stored once, under
its first name.
"""

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lit_transformer.batch import BOS, EOS, PAD, UNK
from lit_transformer.config import ModelConfig
from lit_transformer.errors import UserError, nearest
from lit_transformer.export.plain import from_plain, to_plain
from lit_transformer.transformer import Transformer, build_transformer

FORMAT = {"format": "lit_transformer", "version": 1}
SPECIAL_IDS = {"pad": PAD, "bos": BOS, "eos": EOS, "unk": UNK}
TENSORS, CONFIG = "model.safetensors", "config.json"
KEYS = (*FORMAT, "vocab_size", "special_ids", "model", "provenance")


def save_exported(network: Transformer, folder: Path | str, provenance: Mapping[str, Any] | None = None) -> None:
    """Write a network into an existing folder. `provenance` is plain JSON, for people; loading does not look at it."""
    content = FORMAT | {
        "vocab_size": network.softmax.num_embeddings,
        "special_ids": SPECIAL_IDS,
        "model": to_plain(network.config),
        "provenance": dict(provenance or {}),
    }
    save_tensors(_stored(network), Path(folder) / TENSORS)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (Path(folder) / CONFIG).write_text(text + "\n", encoding="utf-8")


def load_exported(folder: Path | str) -> Transformer:
    """Return the network of an exported folder, on the CPU and in `eval()`: the same numbers to the bit.

    Raises `UserError` in one line where a file is missing, is of another format or version, holds an unknown key, or
    where the tensors are not those of the config.
    """
    folder = Path(folder)
    config, vocab_size = _read_config(folder / CONFIG)
    tensors = _read_tensors(folder / TENSORS)
    with torch.random.fork_rng(devices=[]):  # the initial values that are overwritten cost the caller no random numbers
        network = build_transformer(config, vocab_size)
    places = _stored(network)
    _check_same_names(set(tensors), set(places), folder / TENSORS)
    with torch.no_grad():
        for name, place in places.items():
            found = tensors[name]
            if (found.shape, found.dtype) != (place.shape, place.dtype):
                raise UserError(
                    f"{folder / TENSORS}: {name} is {_kind(found)}, but by {CONFIG} it is {_kind(place)}; "
                    "export the model again"
                )
            place.copy_(found)
    return network.eval()


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, wherever they are, as a safetensors file that says it comes from torch."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.write_bytes(save(plain, metadata={"format": "pt"}))  # `save_file` would let nobody else read it


def _stored(network: Transformer) -> dict[str, Tensor]:
    """Return what is stored of a network: its state, each tied matrix once. Writing into these changes the network."""
    once = {name for name, _ in chain(network.named_parameters(), network.named_buffers())}
    return {name: tensor for name, tensor in network.state_dict().items() if name in once}


def _read_config(path: Path) -> tuple[ModelConfig, int]:
    """Return the model's config and the size of its vocabulary."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; is {path.parent} an exported model?") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); export the model again") from None
    if not isinstance(content, dict) or any(content.get(key) != value for key, value in FORMAT.items()):
        wanted = ", ".join(f"{key} {value}" for key, value in FORMAT.items())
        raise UserError(f"{path} is not of {wanted}; export the model again with this version, to safetensors")
    for key in content:
        if key not in KEYS:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, KEYS)} (known: {', '.join(KEYS)})")
    for key in KEYS:
        if key not in content:
            raise UserError(f"{path}: the key '{key}' is missing; export the model again")
    if content["special_ids"] != SPECIAL_IDS:
        raise UserError(f"{path}: special_ids is {content['special_ids']}; this version knows only {SPECIAL_IDS}")
    size = content["vocab_size"]
    if type(size) is not int or size <= max(SPECIAL_IDS.values()):
        raise UserError(f"{path}: vocab_size is {size!r}; it must be a whole number above {max(SPECIAL_IDS.values())}")
    try:
        return from_plain(ModelConfig, content["model"], "model"), size
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; export the model again") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); export the model again") from None


def _check_same_names(found: set[str], expected: set[str], path: Path) -> None:
    for what, names in (("lacks", expected - found), ("has no place for", found - expected)):
        if names:
            subject = f"{path} {what}" if what == "lacks" else f"{path}: the model of {CONFIG} {what}"
            raise UserError(f"{subject} {min(names)} ({len(names)} such tensors); export the model again")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
