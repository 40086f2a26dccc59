"""The export of a cell's model as one folder, compared with the model before it takes its name."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, assert_never

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.common.io import write_json, write_text
from experiments.config.cell import Cell
from experiments.exporting import comparison
from experiments.exporting.ctranslate2_model import CTRANSLATE2_ACTIVATIONS, require_ctranslate2, save_ctranslate2
from experiments.exporting.marian import save_marian, save_tokenizer
from experiments.exporting.model_card import Format, model_card
from experiments.scoring.inference import load_models, training_record
from lit_transformer import Transformer
from lit_transformer.config import DecodeConfig
from lit_transformer.errors import UserError
from lit_transformer.export import save_exported
from lit_transformer.export.marian import obstacles, to_marian


def export(cell: Cell, to: Format, out: Path, averaged: bool = False) -> None:
    """Export the model of a cell into a new folder, which is complete or not there, and print the comparison.

    Raises UserError where the format cannot express the model, or where the export differs from it.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another or remove it")
    machine.set_up("highest")  # less precise products would hide a difference, or look like one
    _check_possible(cell, to)
    (network,), corpus = load_models([cell], averaged)
    network, record = network.cpu(), training_record(cell, corpus)
    provenance = _provenance(cell, record, corpus) | {"weights": "averaged" if averaged else "last"}
    with _new_folder(out) as folder:
        compared = _write(network, to, folder, provenance, corpus, cell.config.decode)
        write_text(folder / "README.md", model_card(to, provenance, cell.config.decode, compared))
    print(f"{out}: {compared}")


def _check_possible(cell: Cell, to: Format) -> None:
    """Raise UserError, before anything is loaded, for a model that the format cannot express or a missing package."""
    if to is Format.safetensors:
        return
    kind = cell.config.model.feed_forward.kind
    reasons = obstacles(cell.config.model, survives_saving=to is Format.marian)
    if to is Format.ctranslate2:
        require_ctranslate2()
        if not any("feed_forward" in reason for reason in reasons) and kind.value not in CTRANSLATE2_ACTIVATIONS:
            possible = ", ".join(CTRANSLATE2_ACTIVATIONS)
            reasons.append(f"model.feed_forward.kind is {kind} (possible: {possible})")
    if reasons:
        raise UserError(f"{to} cannot express {cell.variant}: {'; '.join(reasons)}")


def _write(
    network: Transformer,
    to: Format,
    folder: Path,
    provenance: Mapping[str, Any],
    corpus: PreparedCorpus,
    decode: DecodeConfig,
) -> str:
    """Write one format and return the sentence that compares it with the network."""
    match to:
        case Format.safetensors:
            save_exported(network, folder, provenance)
            shutil.copyfile(corpus.folder / "tokenizer.json", folder / "tokenizer.json")
            return comparison.compare_safetensors(network, folder)
        case Format.marian:
            marian = to_marian(network, decode, survives_saving=True)
            save_marian(marian, folder)
            write_json(folder / "provenance.json", provenance)
            save_tokenizer(corpus, marian.generation["max_length"], folder)
            return comparison.compare_marian(network, folder, corpus)
        case Format.ctranslate2:
            save_ctranslate2(to_marian(network, decode), corpus.tokenizer.tokens, folder)
            write_json(folder / "provenance.json", provenance)
            shutil.copyfile(corpus.folder / "tokenizer.json", folder / "tokenizer.json")
            return comparison.compare_ctranslate2(network, folder, corpus)
        case _:
            assert_never(to)


def _provenance(cell: Cell, record: Mapping[str, Any], corpus: PreparedCorpus) -> dict[str, Any]:
    return {
        "study": cell.study.name,
        "variant": cell.label,
        "seed": cell.seed,
        "steps": record["steps"],
        "config_hash": record["config_hash"],
        "corpus": corpus.name,
        "source": corpus.source,
        "target": corpus.target,
        "data_hash": corpus.hash,
        "commit": record["git_commit"],
        "exported_by_commit": machine.git_commit(),
    }


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that is renamed to it at the end, or removed if something fails."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
