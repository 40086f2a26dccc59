"""Sentences a second of beam search, beside Hugging Face's `generate`, CTranslate2 and JoeyNMT, on the same weights.

    python -m benchmarks.decoding --study components --variant base --seed 0
    python -m benchmarks.decoding --study components --variant base --seed 0 --beam 1 --threads 2 --out greedy.json

A trained cell is exported to the others, the same sentences go through all of them in the same batches, with the same
beam and no length penalty, one system after another, several times over. Printed are medians and ranges, the ratio to
Hugging Face within each round, and how many translations are the same to the letter. The limit of a length is each
sentence's own in ours and the batch's longest in the others, so one that never ends is longer there.

`python -m benchmarks.drawn_decoding` does the same with models of a given size and drawn weights.
"""

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.rounds import Column, Ids, plain, print_table, rows, take_turns, timed
from benchmarks.translators import ctranslate2, hugging_face, joeynmt, ours
from benchmarks.versions import described
from experiments.common import cli, machine
from experiments.common import io as files
from experiments.config.cell import Cell
from experiments.scoring.inference import load_model, training_record
from lit_transformer.config import DecodeConfig

if TYPE_CHECKING:
    from lit_transformer import Transformer

OURS, PEER = "lit_transformer", "Hugging Face generate"


class Subject(NamedTuple):
    """What translates what: a network, its vocabulary, sentences in the order of their batches, how, and its name."""

    network: "Transformer"
    tokens: list[str]
    sources: list[Ids]
    decode: DecodeConfig
    name: dict[str, Any]


def main() -> None:
    """Parse the command line, translate and print the table."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--split", default="test")
    add_settings(parser)
    args = parser.parse_args()
    cell = cli.parse_cell(args)
    set_up(cell.config.trainer.matmul.value, args.threads)
    compare(_trained(cell, args), args)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark of decoding is told."""
    parser.add_argument("--sentences", type=int, default=200, help="how many, the first of the split (200)")
    parser.add_argument("--batch", type=int, default=40, help="sentences a batch, for all alike (40)")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the table and the machine it is of as JSON, too")


def set_up(matmul: str, threads: int) -> None:
    """Make the process ready, for ours and for the others that run on torch.

    Torch's blocked attention is several times as slow on sentences as its plain one, which the others take without it;
    ours calls neither.
    """
    machine.set_up(matmul)
    import torch

    torch.backends.cuda.enable_flash_sdp(False)
    torch.set_num_threads(threads)


def compare(subject: Subject, args: argparse.Namespace) -> None:
    """Let all systems translate in turns, print the table, and write it where the user asked for that."""
    network, decode, sources = subject.network, subject.decode, subject.sources
    with tempfile.TemporaryDirectory() as folder:
        systems = {OURS: ours(network, decode, args.batch)}
        systems[PEER] = hugging_face(network, decode, args.batch, Path(folder) / "marian")
        systems |= ctranslate2(network, decode, args.batch, subject.tokens, Path(folder) / "ct2", args.threads)
        systems |= joeynmt(network, decode, args.batch)
        before = machine.load()
        said = {name: translate(sources) for name, translate in systems.items()}
        turns = {name: timed(partial(translate, sources)) for name, translate in systems.items()}
        found = rows(take_turns(turns, args.rounds), len(sources), PEER)
    same = {name: sum(map(list.__eq__, own, said[OURS])) / len(sources) for name, own in said.items()}
    columns = [Column("same as ours", ".1%", "same_as_ours", same)]
    title = f"beam {args.beam}, {args.threads} thread(s), batches of {args.batch}"
    print_table(title, "sentences", PEER, found, columns)
    if args.out is not None:
        record = _record(subject, args, [before, machine.load()])
        files.write_json(args.out, record | {"systems": plain("sentences", PEER, found, columns)})


def _trained(cell: Cell, args: argparse.Namespace) -> Subject:
    """Return a trained cell and the first sentences of a split, the longest first."""
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    training_record(cell, corpus)
    network = load_model(cell).cpu()
    texts = corpus.split(args.split).source_text[: args.sentences]
    sources = sorted((corpus.tokenizer.encode(text) for text in texts), key=len, reverse=True)
    decode = replace(cell.config.decode, beam=args.beam, alpha=0.0)
    name = {key: getattr(args, key) for key in ("study", "variant", "seed", "overrides", "split")}
    return Subject(network, corpus.tokenizer.tokens, sources, decode, name)


def _record(subject: Subject, args: argparse.Namespace, load: list[float]) -> dict[str, Any]:
    """Return what the figures are of: the model, the settings, the machine and how busy it was, the versions."""
    settings = subject.name | {name: getattr(args, name) for name in ("batch", "beam", "rounds")}
    return {"settings": settings | {"sentences": len(subject.sources)}, "load_before_and_after": load} | described()


if __name__ == "__main__":
    cli.run(main)
