"""Sentences a second of beam search, beside Hugging Face's `generate`, CTranslate2 and JoeyNMT, on the same weights.

    python -m benchmarks.decoding --study components --variant base --seed 0
    python -m benchmarks.decoding --study components --variant base --seed 0 --beam 1 --threads 2 --out greedy.json

A trained cell is exported to the others, the same sentences go through all of them in the same batches, with the same
beam and no length penalty, one system after another, several times over. Printed are medians and ranges, the ratio to
Hugging Face within each round, and how many translations are the same to the letter. The limit of a length is each
sentence's own in ours and the batch's longest in the others, so one that never ends is longer there.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.joeynmt_model import require_joeynmt, to_joeynmt, translator
from benchmarks.rounds import Ids, Translate, measure, plain, print_table, rows
from experiments import cli, files, machine
from experiments.decoder import load_network, training_record, translate_ids
from experiments.export import save_marian
from lit_transformer.config import DecodeConfig
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from lit_transformer import Transformer

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
    parser.add_argument("--out", type=Path, help="write the table and the machine it is of as JSON, too")
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
        systems |= _joeynmt(network, decode, args.batch)
        before = _load()
        found = rows(*measure(systems, sources, args.rounds), OURS, PEER)
    print_table(f"beam {args.beam}, {args.threads} thread(s), batches of {args.batch}", PEER, found)
    if args.out is not None:
        files.write_json(args.out, _record(args, len(sources), [before, _load()]) | {"systems": plain(PEER, found)})


def _record(args: argparse.Namespace, sentences: int, load: list[float]) -> dict[str, Any]:
    """Return what the figures are of: the model, the settings, the machine and how busy it was, the versions."""
    of_the_machine = machine.describe()
    for package in ("transformers", "ctranslate2"):
        with suppress(PackageNotFoundError):
            of_the_machine["versions"][package] = version(package)
    with suppress(UserError):
        of_the_machine["versions"]["joeynmt"] = require_joeynmt()
    settings = {name: getattr(args, name) for name in ("study", "variant", "seed", "overrides", "split")}
    settings |= {name: getattr(args, name) for name in ("batch", "beam", "rounds")}
    return {"settings": settings | {"sentences": sentences}, "load_before_and_after": load} | of_the_machine


def _load() -> float:
    """Return how many processes were running in the last minute, on average."""
    return round(os.getloadavg()[0], 2)


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


def _joeynmt(network: "Transformer", decode: DecodeConfig, size: int) -> dict[str, Translate]:
    """Return JoeyNMT's system, or none where it is not installed or has no words for the model."""
    from lit_transformer.export.marian import to_marian

    try:
        say = translator(to_joeynmt(to_marian(network, decode)), decode.beam)
    except UserError as error:
        print(f"JoeyNMT is left out: {error}")
        return {}

    def translate(sources: Sequence[Ids]) -> list[Ids]:
        found = []
        for batch in _batches(sources, size):
            found += say(batch, max(map(len, batch)) + decode.extra_length)
        return found

    return {"JoeyNMT": translate}


if __name__ == "__main__":
    cli.run(main)
