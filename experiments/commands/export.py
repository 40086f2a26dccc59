"""Take a trained cell elsewhere: `python -m experiments export --study S --variant V --seed K --to F --out FOLDER`.

  safetensors   tensors, the whole config as JSON, the tokenizer; lit_transformer.load_exported(FOLDER) reads it
  marian        transformers.MarianMTModel.from_pretrained(FOLDER), and AutoTokenizer beside it
  ctranslate2   ctranslate2.Translator(FOLDER); needs the package ctranslate2

FOLDER must be new or empty. What the other format cannot express is refused with every reason. The export is then
loaded as its users would load it, where their package is installed, and compared with the cell's own network. The
overrides are those of the training; decode.* become the defaults of Marian's `generate`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from experiments.common import cli, machine
from experiments.common.io import write_json, write_text
from experiments.config.cell import Cell
from experiments.exporting.cards import card
from experiments.scoring.inference import load_models, training_record
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from data_modules.prepared import PreparedCorpus
    from lit_transformer import Transformer
    from lit_transformer.config import DecodeConfig


class Format(StrEnum):
    """What an export is read by."""

    safetensors = "safetensors"
    marian = "marian"
    ctranslate2 = "ctranslate2"


def main() -> None:
    """Parse the command line and export."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--to", required=True, choices=list(map(str, Format)), help="the format")
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="a new or empty folder")
    about = "the average of the weights that a run with optim.averaging keeps, instead of its last weights"
    parser.add_argument("--averaged", action="store_true", help=about)
    args = parser.parse_args()
    export(cli.parse_cell(args), Format(args.to), cli.STARTED_IN / args.out, args.averaged)


def export(cell: Cell, to: Format, out: Path, averaged: bool = False) -> None:
    """Write the network of a cell to a folder that is whole or not there, and say how it compares."""
    config = cell.config
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another or remove it")
    machine.set_up("highest")  # coarser products would hide a difference, or look like one
    _check_possible(cell, to)
    (network,), corpus = load_models([cell], averaged)
    network, training = network.cpu(), training_record(cell, corpus)
    provenance = _provenance(cell, training, corpus) | {"weights": "averaged" if averaged else "last"}
    with _new_folder(out) as folder:
        compared = _write(network, to, folder, provenance, corpus, config.decode)
        write_text(folder / "README.md", card(to.value, provenance, config.decode, compared))
    print(f"{out}: {compared}")


def _check_possible(cell: Cell, to: Format) -> None:
    """Raise before anything is loaded where the format has no words for the model, or its package is not there."""
    if to is Format.safetensors:
        return
    from experiments.exporting.ctranslate2_model import CTRANSLATE2_ACTIVATIONS, require_ctranslate2
    from lit_transformer.export.marian import obstacles

    kind, reasons = cell.config.model.feed_forward.kind, obstacles(cell.config.model)
    if to is Format.ctranslate2:
        require_ctranslate2()
        if not any("feed_forward" in reason for reason in reasons) and kind not in CTRANSLATE2_ACTIVATIONS:
            possible = ", ".join(CTRANSLATE2_ACTIVATIONS)
            reasons.append(f"model.feed_forward.kind is {kind} (possible: {possible})")
    if reasons:
        raise UserError(f"{to} cannot express {cell.variant}: {'; '.join(reasons)}")


def _write(
    network: "Transformer",
    to: Format,
    folder: Path,
    provenance: dict[str, Any],
    corpus: "PreparedCorpus",
    decode: "DecodeConfig",
) -> str:
    """Write one format and return how it compares with the network."""
    from experiments.exporting import checks
    from experiments.exporting.marian_folder import save_marian, save_tokenizer
    from lit_transformer.export import save_exported
    from lit_transformer.export.marian import to_marian

    match to:
        case Format.safetensors:
            save_exported(network, folder, provenance)
            shutil.copyfile(corpus.folder / "tokenizer.json", folder / "tokenizer.json")
            return checks.compare_safetensors(network, folder)
        case Format.marian:
            marian = to_marian(network, decode)
            save_marian(marian, folder)
            write_json(folder / "provenance.json", provenance)
            save_tokenizer(corpus, marian.generation["max_length"], folder)
            return checks.compare_marian(network, folder, corpus)
        case Format.ctranslate2:
            from experiments.exporting.ctranslate2_model import save_ctranslate2

            save_ctranslate2(to_marian(network, decode), corpus.tokenizer.tokens, folder)
            write_json(folder / "provenance.json", provenance)
            shutil.copyfile(corpus.folder / "tokenizer.json", folder / "tokenizer.json")
            return checks.compare_ctranslate2(network, folder, corpus)
        case _:
            assert_never(to)


def _provenance(cell: Cell, training: dict[str, Any], corpus: "PreparedCorpus") -> dict[str, Any]:
    return {
        "study": cell.study.name,
        "variant": cell.label,
        "seed": cell.seed,
        "steps": training["steps"],
        "config_hash": training["config_hash"],
        "corpus": corpus.name,
        "source": corpus.source,
        "target": corpus.target,
        "data_hash": corpus.hash,
        "commit": training["git_commit"],
        "exported_by_commit": machine.git_commit(),
    }


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its name at the end, or vanishes if something fails."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
