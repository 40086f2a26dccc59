"""Score one trained cell: `python -m experiments evaluate --study S --variant V --seed K [key=value ...]`.

Translates every test split by beam search and writes scores.json beside the cell's training.json, and sentences.csv,
what BLEU counts in each sentence; the sentences, hypotheses/<split>.txt and attention.json, there too or, where the
corpus is not the generated one, under runs/. Only `decode.*` may differ from the training; the weights come from its
last checkpoint. Where optim.averaging keeps an average of the weights too, it is scored as well: `averaged` in
scores.json, hypotheses/averaged/<split>.txt.

    python -m experiments evaluate --study S --variant V --ensemble [--with-variants A,B] [--averaged]

scores all trained seeds of the variant, and of others, as one model; decode.ensemble says how they are joined. That is
no cell of the study: its scores.json and hypotheses are under runs/<study>/<variant>/ensemble/. Where study.yaml names
the variant under `ensembles`, the scores of all its seeds are kept in the study's results too, for its report.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.common import cli, machine
from experiments.common.io import write_json, write_text
from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig
from experiments.scoring.bleu import score
from experiments.scoring.inference import (
    AVERAGED,
    load_network,
    to_line,
    trained_networks,
    trained_seeds,
    training_record,
    translate_ids,
)
from experiments.scoring.perplexity import perplexities
from experiments.scoring.sentences import count_sentences, write_counts
from experiments.tracking import login as wandb_login
from experiments.tracking import wandb as tracking
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from data_modules.prepared import PreparedCorpus
    from lit_transformer import Transformer

SAMPLES = 20
"""Translations shown on W&B."""
MAP_WORDS = (7, 12)
"""Source length, in words, of the sentence whose attention is drawn: long enough for order, short enough to read."""


class Said(NamedTuple):
    """What models made of the sentences of a split, in their order: a line each, and its token ids, EOS apart."""

    lines: list[str]
    ids: list[list[int]]


def main() -> None:
    """Parse the command line and evaluate."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False, no_seed="left out with --ensemble")
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    parser.add_argument("--ensemble", action="store_true", help="score all trained seeds of the variant as one model")
    parser.add_argument("--with-variants", default="", metavar="A,B", help="their trained seeds join the ensemble")
    parser.add_argument("--averaged", action="store_true", help="join the averages of the weights")
    args = parser.parse_args()
    if args.ensemble:
        if args.seed is not None:
            raise UserError("--ensemble takes all trained seeds; leave out --seed")
        evaluate_ensemble(cli.parse_cell(args), [name for name in args.with_variants.split(",") if name], args.averaged)
        return
    if args.seed is None:
        raise UserError("--seed is missing; give one, or --ensemble for all trained seeds as one model")
    if args.with_variants or args.averaged:
        raise UserError("--with-variants and --averaged choose an ensemble's members; add --ensemble")
    evaluate(cli.parse_cell(args), args)


def evaluate(cell: Cell, args: argparse.Namespace) -> None:
    """Translate and score every test split of the cell's corpus."""
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    training = training_record(cell, config, corpus)
    shutil.rmtree(cell.text_folder / "hypotheses", ignore_errors=True)
    (cell.text_folder / "hypotheses").mkdir(parents=True)
    (cell.text_folder / "attention.json").unlink(missing_ok=True)
    if training["status"] == "diverged":
        print(f"{cell.run_folder} diverged at step {training['diverged_at']}: there is no model to score")
        write_text(cell.sentences_path, write_counts({}))
        write_json(cell.scores_path, _frame(cell, config, training))
        return
    network = load_network(cell, config, corpus)
    found, translations = _score_splits([network], config, corpus)
    frame = _frame(cell, config, training)
    frame.update(splits=found, seconds=round(sum(part["seconds"] for part in found.values()), 2))
    _write_lines(cell.text_folder / "hypotheses", translations)
    counts = {
        split: count_sentences(corpus.split(split).target_text, said.lines) for split, said in translations.items()
    }
    write_text(cell.sentences_path, write_counts(counts))
    _draw_attention(cell, network, corpus, translations)
    if "averaging" in training:
        averaged = load_network(cell, config, corpus, AVERAGED)
        own, others = _score_splits([averaged], config, corpus, f"averaged ({config.optim.averaging.kind}) ")
        frame["averaged"] = {**training["averaging"], "splits": own}
        _write_lines(cell.text_folder / "hypotheses" / "averaged", others)
        found = {**found, "averaged": own}
    write_json(cell.scores_path, frame)
    _track(cell, network, training, found, corpus, translations, args)


def evaluate_ensemble(cell: Cell, others: Sequence[str], averaged: bool) -> None:
    """Score the trained seeds of a cell's variant, and of `others`, as one model."""
    config = cell.config
    members = trained_seeds(cell, [name for name in dict.fromkeys(others) if name != cell.variant])
    machine.set_up(config.trainer.matmul.value)
    networks, corpus = trained_networks(members, averaged)
    print("ensemble of", ", ".join(f"{one.variant}/seed{one.seed}" for one in members), flush=True)
    found, translations = _score_splits(networks, config, corpus)
    records = [(one, training_record(one, one.config, corpus)) for one in members]
    named = [{"variant": one.label, "seed": one.seed, "config_hash": own["config_hash"]} for one, own in records]
    frame = {
        "study": cell.study.name,
        "variant": cell.label,
        "ensemble": {"kind": config.decode.ensemble.value, "averaged": averaged, "members": named},
        "data_hash": corpus.hash,
        "decode": _decoding(config),
        "splits": found,
        "seconds": round(sum(part["seconds"] for part in found.values()), 2),
    }
    joined = ["averaged"] if averaged else []
    joined += [f"with-{name}" for name in dict.fromkeys(one.variant for one in members) if name != cell.variant]
    folder = cell.run_folder.with_name("-".join(["ensemble", *joined]))
    folder /= cell.results_folder.name if cell.overrides else "results"
    shutil.rmtree(folder, ignore_errors=True)
    _write_lines(folder / "hypotheses", translations)
    write_json(folder / "scores.json", frame)
    print(f"{folder}: scores.json and hypotheses")
    if cell.variant in cell.study.ensembles and not joined and not cell.overrides:
        write_json(cell.study.ensemble(cell.variant) / "scores.json", frame)


def _write_lines(folder: Path, translations: dict[str, Said]) -> None:
    for split, said in translations.items():
        write_text(folder / f"{split}.txt", "".join(f"{line}\n" for line in said.lines))


def _frame(cell: Cell, config: RunConfig, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "study": cell.study.name,
        "variant": cell.label,
        "seed": cell.seed,
        "status": training["status"],
        "config_hash": training["config_hash"],
        "data_hash": training["data_hash"],
        "decode": _decoding(config),
        "splits": {},
    }


def _decoding(config: RunConfig) -> dict[str, Any]:
    decode = config.decode
    return {"beam": decode.beam, "alpha": decode.alpha, "extra_length": decode.extra_length}


def _score_splits(
    networks: Sequence["Transformer"], config: RunConfig, corpus: "PreparedCorpus", title: str = ""
) -> tuple[dict[str, Any], dict[str, Said]]:
    found: dict[str, Any] = {}
    translations: dict[str, Said] = {}
    for split in [name for name in corpus.splits if name not in ("train", "valid")]:
        started = time.perf_counter()
        said = _translate(networks, config, corpus, split)
        texts = corpus.split(split)
        found[split] = score(
            texts.source_text, texts.target_text, said.lines, language=corpus.target, corpus=corpus.name
        )
        found[split] |= perplexities(networks, config.decode.ensemble, corpus, split, config.data.batch_tokens)
        found[split]["seconds"] = round(time.perf_counter() - started, 2)
        translations[split] = said
        own = found[split]
        print(
            f"{title}{split}: BLEU {own['bleu']:.2f}  chrF {own['chrf']:.2f}  ppl {own['ppl']:.3f}  "
            f"exact {own['exact_match']:.1f} %  ({len(said.lines)} sentences, {own['seconds']:.1f} s)",
            flush=True,
        )
    return found, translations


def _translate(networks: Sequence["Transformer"], config: RunConfig, corpus: "PreparedCorpus", split: str) -> Said:
    from rich.console import Console
    from rich.progress import Progress

    pairs = corpus.split(split)
    sources = [pairs[place][0] for place in range(len(pairs))]
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(split, total=len(sources))
        best = translate_ids(networks, sources, config.decode, done=partial(progress.advance, task))
    ids = [hypotheses[0].tokens for hypotheses in best]
    return Said([to_line(corpus.tokenizer, own) for own in ids], ids)


def _draw_attention(
    cell: Cell, network: "Transformer", corpus: "PreparedCorpus", translations: dict[str, Said]
) -> None:
    """Write the cross-attention of the first test sentence of a readable length, over the model's own translation."""
    from lit_transformer.attention_maps import cross_attention

    split = next(iter(translations))
    low, high = MAP_WORDS
    sources = corpus.split(split).source_text
    chosen = next((i for i, text in enumerate(sources) if low <= len(text.split()) <= high), 0)
    src, tgt = corpus.tokenizer.encode(sources[chosen]), translations[split].ids[chosen]
    weights = cross_attention(network, src, tgt)
    if weights is None:
        return  # the decoder reads the source without attention
    content = {
        "source": [*corpus.tokenizer.pieces(src), "</s>"],
        "target": [*corpus.tokenizer.pieces(tgt), "</s>"],
        "cross": [[[[round(w, 4) for w in row] for row in head] for head in layer] for layer in weights.tolist()],
    }
    write_json(cell.text_folder / "attention.json", content)


def _track(
    cell: Cell,
    network: "Transformer",
    training: dict[str, Any],
    found: dict[str, Any],
    corpus: "PreparedCorpus",
    translations: dict[str, Said],
    args: argparse.Namespace,
) -> None:
    mode = wandb_login.wandb_mode(args.wandb)
    if mode == "disabled":
        return
    from experiments.reporting.page.attention import page_of_split

    split = next(iter(translations))
    texts = corpus.split(split)
    rows = zip(texts.source_text, texts.target_text, translations[split].lines, strict=True)
    samples = [{"source": s, "reference": r, "hypothesis": h} for s, r, h in list(rows)[:SAMPLES]]
    tracking.log_scores(
        project="lit_transformer",
        study=cell.study.name,
        variant=cell.label,
        seed=cell.seed,
        config_hash=training["config_hash"],
        folder=cell.run_folder,
        mode=mode,
        scores=found,
        samples=samples,
        attention=page_of_split(cell.title, network, corpus.tokenizer, texts.source_text, translations[split].ids),
    )
