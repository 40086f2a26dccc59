"""Score one trained cell: `python -m experiments.evaluate --study S --variant V --seed K [key=value ...]`.

Translates every test split by beam search and writes scores.json beside the cell's training.json; the sentences,
hypotheses/<split>.txt and attention.json, there too or, where the corpus is not the generated one, under runs/. Only
`decode.*` may differ from the training; the weights come from its last checkpoint. Where optim.averaging keeps an
average of the weights too, it is scored as well: `averaged` in scores.json, hypotheses/averaged/<split>.txt.
"""

import argparse
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import cli, machine, tracking
from experiments.decoder import AVERAGED, load_network, to_line, training_record, translate_ids
from experiments.files import write_json, write_text
from experiments.perplexities import perplexities
from experiments.run_config import RunConfig
from experiments.scoring import score
from experiments.study import Cell

if TYPE_CHECKING:
    from data_modules.prepared import PreparedCorpus
    from lit_transformer import Transformer

SAMPLES = 20
"""Translations shown on W&B."""
MAP_WORDS = (7, 12)
"""Source length, in words, of the sentence whose attention is drawn: long enough for order, short enough to read."""


def main() -> None:
    """Parse the command line and evaluate."""
    parser = cli.cell_parser(__doc__)
    parser.add_argument("--wandb", default="auto", help="auto (online if logged in), online, offline or disabled")
    args = parser.parse_args()
    evaluate(cli.parse_cell(args), args)


def evaluate(cell: Cell, args: argparse.Namespace) -> None:
    """Translate and score every test split of the cell's corpus."""
    config = cell.config
    machine.set_up(config.trainer.matmul.value, config.trainer.accelerator)
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cell.study.data_folder)
    training = training_record(cell, config, corpus)
    shutil.rmtree(cell.text_folder / "hypotheses", ignore_errors=True)
    (cell.text_folder / "hypotheses").mkdir(parents=True)
    (cell.text_folder / "attention.json").unlink(missing_ok=True)
    if training["status"] == "diverged":
        print(f"{cell.run_folder} diverged at step {training['diverged_at']}: there is no model to score")
        write_json(cell.results_folder / "scores.json", _frame(cell, config, training))
        return
    network = load_network(cell, config, corpus)
    found, translations = _score_splits(network, config, corpus)
    frame = _frame(cell, config, training)
    frame.update(splits=found, seconds=round(sum(part["seconds"] for part in found.values()), 2))
    _write_lines(cell.text_folder / "hypotheses", translations)
    _draw_attention(cell, network, corpus, translations)
    if "averaging" in training:
        averaged = load_network(cell, config, corpus, AVERAGED)
        own, lines = _score_splits(averaged, config, corpus, f"averaged ({config.optim.averaging.kind}) ")
        frame["averaged"] = {**training["averaging"], "splits": own}
        _write_lines(cell.text_folder / "hypotheses" / "averaged", lines)
        found = {**found, "averaged": own}
    write_json(cell.results_folder / "scores.json", frame)
    _track(cell, training, found, corpus, translations, args)


def _write_lines(folder: Path, translations: dict[str, list[str]]) -> None:
    for split, lines in translations.items():
        write_text(folder / f"{split}.txt", "".join(f"{line}\n" for line in lines))


def _frame(cell: Cell, config: RunConfig, training: dict[str, Any]) -> dict[str, Any]:
    decode = config.decode
    return {
        "study": cell.study.name,
        "variant": cell.label,
        "seed": cell.seed,
        "status": training["status"],
        "config_hash": training["config_hash"],
        "data_hash": training["data_hash"],
        "decode": {"beam": decode.beam, "alpha": decode.alpha, "extra_length": decode.extra_length},
        "splits": {},
    }


def _score_splits(
    network: "Transformer", config: RunConfig, corpus: "PreparedCorpus", title: str = ""
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    found: dict[str, Any] = {}
    translations: dict[str, list[str]] = {}
    for split in [name for name in corpus.splits if name not in ("train", "valid")]:
        started = time.perf_counter()
        lines = _translate(network, config, corpus, split)
        texts = corpus.split(split)
        found[split] = score(texts.source_text, texts.target_text, lines, language=corpus.target, corpus=corpus.name)
        found[split] |= perplexities(network, corpus, split, config.data.batch_tokens)
        found[split]["seconds"] = round(time.perf_counter() - started, 2)
        translations[split] = lines
        own = found[split]
        print(
            f"{title}{split}: BLEU {own['bleu']:.2f}  chrF {own['chrf']:.2f}  ppl {own['ppl']:.3f}  "
            f"exact {own['exact_match']:.1f} %  ({len(lines)} sentences, {own['seconds']:.1f} s)",
            flush=True,
        )
    return found, translations


def _translate(network: "Transformer", config: RunConfig, corpus: "PreparedCorpus", split: str) -> list[str]:
    from rich.console import Console
    from rich.progress import Progress

    pairs = corpus.split(split)
    sources = [pairs[place][0] for place in range(len(pairs))]
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(split, total=len(sources))
        best = translate_ids([network], sources, config.decode, done=partial(progress.advance, task))
    return [to_line(corpus.tokenizer, hypotheses[0].tokens) for hypotheses in best]


def _draw_attention(
    cell: Cell, network: "Transformer", corpus: "PreparedCorpus", translations: dict[str, list[str]]
) -> None:
    """Write the cross-attention of the first test sentence of a readable length, over the model's own translation."""
    from lit_transformer.attention_maps import cross_attention

    split = next(iter(translations))
    low, high = MAP_WORDS
    sources = corpus.split(split).source_text
    chosen = next((i for i, text in enumerate(sources) if low <= len(text.split()) <= high), 0)
    encode = corpus.tokenizer.encode
    src, tgt = encode(sources[chosen]), encode(translations[split][chosen])
    weights = cross_attention(network, src, tgt)
    content = {
        "source": [*corpus.tokenizer.pieces(src), "</s>"],
        "target": [*corpus.tokenizer.pieces(tgt), "</s>"],
        "cross": [[[[round(w, 4) for w in row] for row in head] for head in layer] for layer in weights.tolist()],
    }
    write_json(cell.text_folder / "attention.json", content)


def _track(
    cell: Cell,
    training: dict[str, Any],
    found: dict[str, Any],
    corpus: "PreparedCorpus",
    translations: dict[str, list[str]],
    args: argparse.Namespace,
) -> None:
    mode = tracking.wandb_mode(args.wandb)
    if mode == "disabled":
        return
    split = next(iter(translations))
    texts = corpus.split(split)
    rows = zip(texts.source_text, texts.target_text, translations[split], strict=True)
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
    )


if __name__ == "__main__":
    cli.run(main)
