"""Beam search in sentences per second beside Hugging Face, CTranslate2 and JoeyNMT, on the same weights.

    python -m benchmarks.decoding --study components --variant base --seed 0
    python -m benchmarks.decoding --study components --variant base --seed 0 --beam 1 --threads 2 --out greedy.json

A trained model is exported to the other libraries, and all translate the same sentences in the same batches, with the
same beam and no length penalty, taking turns in several rounds. Printed are medians and ranges, the ratio to Hugging
Face within each round, and the share of translations identical to ours. A peer that is not installed has no row. The
maximum length is per sentence in ours and per batch in the others, so a translation without EOS is longer there.

`python -m benchmarks.random_decoding` does the same with random weights at a given model size.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.environment import describe
from benchmarks.rounds import Column, Ids, as_json, print_table, rows, take_turns, timed
from benchmarks.translators import ctranslate2, hugging_face, joeynmt, ours
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.cell import Cell
from experiments.scoring.inference import load_model, training_record
from lit_transformer.config import DecodeConfig

if TYPE_CHECKING:
    from lit_transformer import Transformer

OURS, PEER = "lit_transformer", "Hugging Face generate"
CPU_PEERS = ("CTranslate2 float32", "JoeyNMT")
"""Timed on a CPU only."""


class Subject(NamedTuple):
    """What is benchmarked: network, vocabulary, source sentences in batch order, search settings, and a description."""

    network: "Transformer"
    tokens: list[str]
    sources: list[Ids]
    decode: DecodeConfig
    description: dict[str, Any]


def main() -> None:
    """Parse the command line and run the benchmark."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--split", default="test")
    add_settings(parser)
    args = parser.parse_args()
    cell = cli.parse_cell(args)
    set_up(cell.config.trainer.matmul.value, args.threads, args.device)
    compare(_trained(cell, args), args)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of all decoding benchmarks."""
    parser.add_argument(
        "--sentences", type=int, default=200, help="number of sentences, from the start of the split (200)"
    )
    parser.add_argument("--batch", type=int, default=40, help="sentences per batch, for all systems (40)")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=cli.user_path, help="also write the table and the machine as JSON")


def set_up(matmul: str, threads: int, device: str = "cpu") -> None:
    """Configure the process, for ours and for the other systems on torch.

    Flash attention on CPU is several times slower than the math kernel on sentences, so it is off; ours uses neither.
    """
    machine.set_up(matmul)
    import torch

    torch.backends.cuda.enable_flash_sdp(device == "cuda")
    torch.set_num_threads(threads)


def compare(subject: Subject, args: argparse.Namespace) -> None:
    """Translate with all systems in turns, print the table, and write it if requested."""
    network, decode, sources = subject.network, subject.decode, subject.sources
    with tempfile.TemporaryDirectory() as folder:
        peers = hugging_face(network, decode, args.batch, Path(folder) / "marian", args.device)
        if args.device == "cpu":
            peers |= ctranslate2(network, decode, args.batch, subject.tokens, Path(folder) / "ct2", args.threads)
            peers |= joeynmt(network, decode, args.batch)
        systems = {OURS: ours(network.to(args.device), decode, args.batch)} | peers
        before = machine.load()
        translations = {name: translate(sources) for name, translate in systems.items()}
        turns = {name: timed(partial(translate, sources)) for name, translate in systems.items()}
        peer = PEER if PEER in systems else OURS
        table = rows(take_turns(turns, args.rounds), len(sources), peer)
    same = {
        name: sum(map(list.__eq__, output, translations[OURS])) / len(sources) for name, output in translations.items()
    }
    tokens = {row.name: sum(map(len, translations[row.name])) / len(sources) * row.rate.median for row in table}
    columns = [
        Column("tokens/s", ",.0f", "tokens_per_second", tokens),
        Column("same as ours", ".1%", "same_as_ours", same),
    ]
    title = f"beam {args.beam}, {args.threads} thread(s), {args.device}, batches of {args.batch}"
    print_table(title, "sentences", peer, table, columns)
    if args.out is not None:
        record = _record(subject, args, [before, machine.load()])
        left_out = [name for name in (PEER, *(CPU_PEERS if args.device == "cpu" else ())) if name not in systems]
        systems_json = as_json("sentences", peer, table, columns)
        files.write_json(args.out, record | {"systems": systems_json, "left_out": left_out})


def _trained(cell: Cell, args: argparse.Namespace) -> Subject:
    """Return a trained model and the first sentences of a split, longest first."""
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    training_record(cell, corpus)
    network = load_model(cell).cpu()
    texts = corpus.split(args.split).source_text[: args.sentences]
    sources = sorted((corpus.tokenizer.encode(text) for text in texts), key=len, reverse=True)
    decode = replace(cell.config.decode, beam=args.beam, alpha=0.0)
    description = {key: getattr(args, key) for key in ("study", "variant", "seed", "overrides", "split")}
    return Subject(network, corpus.tokenizer.tokens, sources, decode, description)


def _record(subject: Subject, args: argparse.Namespace, load: list[float]) -> dict[str, Any]:
    """Return what the numbers depend on: model, settings, machine and its load, versions."""
    settings = subject.description | {name: getattr(args, name) for name in ("batch", "beam", "rounds", "device")}
    return {"settings": settings | {"sentences": len(subject.sources)}, "load_before_and_after": load} | describe()


if __name__ == "__main__":
    cli.run(main)
