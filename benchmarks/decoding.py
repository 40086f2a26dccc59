"""Sentences a second of beam search, beside Hugging Face's `generate` and CTranslate2, on the same weights.

    python -m benchmarks.decoding --study components --variant base --seed 0
    python -m benchmarks.decoding --study components --variant base --seed 0 --beam 1 --threads 2

A trained cell is exported to the other two (`experiments.export`), the same sentences go through all three in the
same batches, with the same beam and no length penalty, one after another, several times over. Printed are medians
and ranges, the ratio to Hugging Face within each round, and how many translations are the same to the letter.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import cli, machine
from experiments.decoder import load_network, training_record, translate_ids
from experiments.export import save_marian
from lit_transformer.config import DecodeConfig
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from lit_transformer import Transformer

Ids = list[int]
Translate = Callable[[Sequence[Ids]], list[Ids]]
OURS, PEER = "lit_transformer", "Hugging Face generate"


def main() -> None:
    """Parse the command line, translate and print the table."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--split", default="test")
    parser.add_argument("--sentences", type=int, default=200, help="how many, the first of the split (200)")
    parser.add_argument("--batch", type=int, default=40, help="sentences a batch, for all alike (40)")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    cell = cli.parse_cell(args)
    machine.set_up(cell.config.trainer.matmul.value, "cpu")
    import torch

    torch.set_num_threads(args.threads)
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    training_record(cell, cell.config, corpus)
    network = load_network(cell, cell.config, corpus).cpu()
    split = corpus.split(args.split)
    texts = split.source_text[: args.sentences]
    sources = sorted((corpus.tokenizer.encode(text) for text in texts), key=len, reverse=True)
    decode = replace(cell.config.decode, beam=args.beam, alpha=0.0)
    with tempfile.TemporaryDirectory() as folder:
        systems = {OURS: _ours(network, decode, args.batch)}
        systems[PEER] = _hugging_face(network, decode, args.batch, Path(folder) / "marian")
        systems |= _ctranslate2(network, decode, corpus.tokenizer.tokens, Path(folder) / "ct2", args)
        _print(*_measure(systems, sources, args.rounds), len(sources), args)


def _measure(
    systems: dict[str, Translate], sources: Sequence[Ids], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Ids]]]:
    """Return the seconds of every round, after one that is not counted, and the translations, by system."""
    found = {name: translate(sources) for name, translate in systems.items()}
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, translate in systems.items():
            started = time.perf_counter()
            translate(sources)
            seconds[name].append(time.perf_counter() - started)
    return seconds, found


def _print(
    seconds: dict[str, list[float]], found: dict[str, list[Ids]], sentences: int, args: argparse.Namespace
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"beam {args.beam}, {args.threads} thread(s), batches of {args.batch}")
    for title in ("sentences/s", "range", f"x {PEER}", "range", "same as ours"):
        table.add_column(title, justify="right")
    for name, own in seconds.items():
        rates = [sentences / value for value in own]
        ratios = [other / value for other, value in zip(seconds[PEER], own, strict=True)]
        same = sum(map(list.__eq__, found[name], found[OURS])) / sentences
        cells = [f"{statistics.median(rates):.1f}", f"{min(rates):.1f} to {max(rates):.1f}"]
        cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}", f"{same:.1%}"]
        table.add_row(name, *cells)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _batches(sources: Sequence[Ids], size: int) -> list[Sequence[Ids]]:
    return [sources[start : start + size] for start in range(0, len(sources), size)]


def _ours(network: "Transformer", decode: DecodeConfig, size: int) -> Translate:
    whole = replace(decode, batch_tokens=10**9)  # a batch is what it is given

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        return [best[0].tokens for batch in _batches(sources, size) for best in translate_ids([network], batch, whole)]

    return translate


def _hugging_face(network: "Transformer", decode: DecodeConfig, size: int, folder: Path) -> Translate:
    import torch
    from transformers import MarianMTModel, logging

    from lit_transformer.batch import BOS, EOS, PAD
    from lit_transformer.export.marian import to_marian

    logging.set_verbosity_error()  # it warns of two limits at every batch
    folder.mkdir()
    save_marian(to_marian(network, decode), folder)
    model = MarianMTModel.from_pretrained(folder).eval()

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        found = []
        for batch in _batches(sources, size):
            rows = [torch.tensor([*ids, EOS]) for ids in batch]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
            longest = max(map(len, batch)) + decode.extra_length
            with torch.inference_mode():
                said = model.generate(ids, attention_mask=(ids != PAD).long(), max_new_tokens=longest)
            found += [[token for token in row if token not in (PAD, BOS, EOS)] for row in said.tolist()]
        return found

    return translate


def _ctranslate2(
    network: "Transformer", decode: DecodeConfig, tokens: list[str], folder: Path, args: argparse.Namespace
) -> dict[str, Translate]:
    """Return CTranslate2's system, or none where it is not installed or has no words for the model."""
    from experiments.ctranslate2_model import require_ctranslate2, save_ctranslate2
    from lit_transformer.export.marian import to_marian

    folder.mkdir()
    try:
        require_ctranslate2()
        save_ctranslate2(to_marian(network, decode), tokens, folder)
    except UserError as error:
        print(f"CTranslate2 is left out: {error}")
        return {}
    import ctranslate2

    translator = ctranslate2.Translator(str(folder), inter_threads=1, intra_threads=args.threads)
    ids = {token: number for number, token in enumerate(tokens)}

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        found = []
        for batch in _batches(sources, args.batch):
            said = translator.translate_batch(
                [[tokens[number] for number in source] for source in batch],
                beam_size=decode.beam,
                length_penalty=1e-9,  # with 0 it stops by another rule
                min_decoding_length=0,
                max_decoding_length=max(map(len, batch)) + decode.extra_length,
            )
            found += [[ids[token] for token in result.hypotheses[0]] for result in said]
        return found

    return {"CTranslate2 float32": translate}


if __name__ == "__main__":
    cli.run(main)
