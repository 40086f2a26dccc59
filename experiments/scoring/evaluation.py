"""Scores of trained models on every test split of their corpus, and the files that keep them."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from data_modules.prepared import PreparedCorpus
from experiments.common import machine
from experiments.common.io import replace_folder, write_json, write_text
from experiments.config.bleu_tokenizer import bleu_tokenizer, check_finds_words
from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig
from experiments.scoring.bleu import score
from experiments.scoring.inference import (
    decoding_settings,
    load_model,
    load_models,
    to_line,
    trained_seeds,
    training_record,
    translate_ids,
)
from experiments.scoring.perplexity import perplexities
from experiments.scoring.sentences import count_sentences, write_counts
from experiments.scoring.testsets import read_testset
from lit_transformer import Transformer
from lit_transformer.attention_maps import cross_attention
from lit_transformer.errors import UserError

PRIMARY = ("test", "test2016")
"""Splits that a cell is judged on, best first; a corpus without either is judged on its first test split."""
HEADLINE = ("bleu", "chrf", "ppl", "exact_match")
ATTENTION_WORDS = (7, 12)
"""Source length, in words, of the sentence whose attention is drawn: long enough for order, short enough to read."""


class Translations(NamedTuple):
    """Translations of a split in its order: lines of text, and token ids without EOS."""

    lines: list[str]
    ids: list[list[int]]


@dataclass(frozen=True)
class Evaluation:
    """What the evaluation of a cell found; `network` is None where the training diverged."""

    record: dict[str, Any]
    corpus: PreparedCorpus
    network: Transformer | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    """By split, and under "averaged" those of the averaged weights."""
    translations: dict[str, Translations] = field(default_factory=dict)


def primary_split(splits: Sequence[str]) -> str:
    """Return the split on which scores are compared."""
    return next((name for name in PRIMARY if name in splits), splits[0])


def evaluate(cell: Cell) -> Evaluation:
    """Translate and score every test split with a cell's model, and its averaged weights, and write the scores."""
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    corpus = PreparedCorpus.open(cell.study.data_folder)
    record = training_record(cell, corpus)
    frame = _frame(cell, record)
    if record["status"] == "diverged":
        print(f"{cell.title} diverged at step {record['diverged_at']}: there is no model to score")
        with replace_folder(cell.translations_folder) as folder:
            write_json(folder / "diverged.json", {})
        _write(cell, frame, {}, {"diverged_at": record["diverged_at"]})
        return Evaluation(record, corpus)
    network = load_model(cell)
    scores, translations = score_splits([network], config, corpus)
    averaged: dict[str, Translations] = {}
    if "averaging" in record:
        title = f"averaged ({config.optim.averaging.kind}) "
        averaged_scores, averaged = score_splits([load_model(cell, averaged=True)], config, corpus, title)
        frame["averaged"] = {**record["averaging"], "splits": averaged_scores}
    frame["repeats"] = {split: corpus.repeats(split) for split in scores}
    frame.update(splits=scores, seconds=round(sum(part["seconds"] for part in scores.values()), 2))
    tokenizer = bleu_tokenizer(config.decode.bleu_tokenizer, corpus.target)
    counts = {
        split: count_sentences(corpus.split(split).target_text, translated.lines, tokenizer)
        for split, translated in translations.items()
    }
    with replace_folder(cell.translations_folder) as folder:
        write_lines(folder, translations)
        write_lines(folder / "averaged", averaged)
        if attention := _attention_example(network, corpus, translations):
            write_json(folder / "attention.json", attention)
    _write(cell, frame, counts, _headline(scores))
    scores = {**scores, "averaged": frame["averaged"]["splits"]} if averaged else scores
    return Evaluation(record, corpus, network, scores, translations)


def evaluate_ensemble(cell: Cell, other_variants: Sequence[str], averaged: bool) -> Path:
    """Score the trained seeds of a cell's variant, and of other variants, as one model; return the scores' folder."""
    config = cell.config
    members = trained_seeds(cell, [name for name in dict.fromkeys(other_variants) if name != cell.variant])
    machine.set_up(config.trainer.matmul.value)
    networks, corpus = load_models(members, averaged)
    print("ensemble of", ", ".join(member.name for member in members), flush=True)
    scores, translations = score_splits(networks, config, corpus)
    hashes = [training_record(member, corpus)["config_hash"] for member in members]
    frame = {
        "study": cell.study.name,
        "variant": cell.label,
        "ensemble": {
            "kind": config.decode.ensemble.value,
            "averaged": averaged,
            "members": [
                {"variant": member.label, "seed": member.seed, "config_hash": own}
                for member, own in zip(members, hashes, strict=True)
            ],
        },
        "data_hash": corpus.hash,
        "decode": decoding_settings(config),
        "splits": scores,
        "seconds": round(sum(part["seconds"] for part in scores.values()), 2),
    }
    parts = ["averaged"] if averaged else []
    parts += [f"with-{name}" for name in dict.fromkeys(member.variant for member in members) if name != cell.variant]
    folder = cell.run_folder.with_name("-".join(["ensemble", *parts]))
    folder /= cell.evaluation_folder.name if cell.overrides else "results"
    with replace_folder(folder) as new_folder:
        write_lines(new_folder / "translations", translations)
        write_json(new_folder / "scores.json", frame)
    if cell.variant in cell.study.ensembles and not parts and not cell.overrides:
        write_json(cell.study.ensemble(cell.variant) / "scores.json", frame)
    return folder


def evaluate_testset(cell: Cell, name: str) -> Path:
    """Translate and score a test set of sacreBLEU with a cell's model; return the folder of scores and translations.

    Raises UserError where the set is not on disk, the cell has no model, or a sentence has no place in it.
    """
    config = cell.config
    machine.set_up(config.trainer.matmul.value)
    split, text = name.replace("/", "_"), read_testset(name, config.data.source, config.data.target)
    (network,), corpus = load_models([cell])
    with TemporaryDirectory() as temporary:
        testset = corpus.encode(f"sacrebleu:{name}", {split: text}, Path(temporary))
        _check_positions(network, testset, split)
        scores, translations = score_splits([network], config, testset)
        frame = {
            "study": cell.study.name,
            "variant": cell.label,
            "seed": cell.seed,
            "testset": name,
            "testset_hash": testset.hash,
            "data_hash": corpus.hash,
            "config_hash": training_record(cell, corpus)["config_hash"],
            "decode": decoding_settings(config),
            "splits": scores,
        }
    with replace_folder(cell.testset_folder(name)) as folder:
        write_lines(folder, translations)
        write_json(folder / "scores.json", frame)
    return cell.testset_folder(name)


def _check_positions(network: Transformer, corpus: PreparedCorpus, split: str) -> None:
    """Raise UserError for a sentence that is longer than the model's learned positions."""
    limit, own = network.src_embedding.positions.max_length, corpus.split(split)
    longest = int(max(own.source_lengths.max(), own.target_lengths.max()))
    if limit is not None and longest > limit:
        raise UserError(f"{split} has a sentence of {longest} tokens, and the model has {limit} learned positions")


def score_splits(
    networks: Sequence[Transformer], config: RunConfig, corpus: PreparedCorpus, title: str = ""
) -> tuple[dict[str, Any], dict[str, Translations]]:
    """Translate and score every test split; several networks form an ensemble. Returns both by split."""
    tokenizer = bleu_tokenizer(config.decode.bleu_tokenizer, corpus.target)
    scores: dict[str, Any] = {}
    translations: dict[str, Translations] = {}
    for split in corpus.test_splits:
        started = time.perf_counter()
        texts = corpus.split(split)
        check_finds_words(config.decode.bleu_tokenizer, corpus.target, texts.target_text)
        translated = _translate(networks, config, corpus, split)
        own = score(
            texts.source_text,
            texts.target_text,
            translated.lines,
            language=corpus.target,
            corpus=corpus.name,
            tokenizer=tokenizer,
        )
        own |= perplexities(networks, config.decode.ensemble, corpus, split, config.data.batch_tokens)
        own["seconds"] = round(time.perf_counter() - started, 2)
        scores[split], translations[split] = own, translated
        print(
            f"{title}{split}: BLEU {own['bleu']:.2f}  chrF {own['chrf']:.2f}  ppl {own['ppl']:.3f}  "
            f"exact {own['exact_match']:.1f} %  ({len(translated.lines)} sentences, {own['seconds']:.1f} s)",
            flush=True,
        )
    return scores, translations


def write_lines(folder: Path, translations: Mapping[str, Translations]) -> None:
    """Write one file per split, one translation per line."""
    for split, translated in translations.items():
        write_text(folder / f"{split}.txt", "".join(f"{line}\n" for line in translated.lines))


def _frame(cell: Cell, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "study": cell.study.name,
        "variant": cell.label,
        "seed": cell.seed,
        **{key: record[key] for key in ("status", "config_hash", "data_hash", "code_hash")},
        "decode": decoding_settings(cell.config),
        "splits": {},
    }


def _write(cell: Cell, frame: Mapping[str, Any], counts: Mapping[str, Any], headline: Mapping[str, Any]) -> None:
    write_text(cell.sentences_path, write_counts(counts))
    write_json(cell.metrics_path, headline)
    write_json(cell.scores_path, frame)


def _headline(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the scores of metrics.json: those of the split on which cells are judged."""
    own = scores[primary_split(list(scores))]
    return {name: round(own[name], 4) for name in HEADLINE}


def _translate(networks: Sequence[Transformer], config: RunConfig, corpus: PreparedCorpus, split: str) -> Translations:
    pairs = corpus.split(split)
    sources = [pairs[index][0] for index in range(len(pairs))]
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(split, total=len(sources))
        best = translate_ids(networks, sources, config.decode, progress=partial(progress.advance, task))
    ids = [hypotheses[0].tokens for hypotheses in best]
    return Translations([to_line(corpus.tokenizer, own) for own in ids], ids)


def _attention_example(
    network: Transformer, corpus: PreparedCorpus, translations: Mapping[str, Translations]
) -> dict[str, Any] | None:
    """Return the cross-attention of the first test sentence of a readable length, over the model's own translation.

    None where the decoder reads the source without attention.
    """
    split = next(iter(translations))
    low, high = ATTENTION_WORDS
    sources = corpus.split(split).source_text
    index = next((i for i, text in enumerate(sources) if low <= len(text.split()) <= high), 0)
    src, tgt = corpus.tokenizer.encode(sources[index]), translations[split].ids[index]
    weights = cross_attention(network, src, tgt)
    if weights is None:
        return None
    return {
        "source": [*corpus.tokenizer.pieces(src), "</s>"],
        "target": [*corpus.tokenizer.pieces(tgt), "</s>"],
        "cross": [[[[round(w, 4) for w in row] for row in head] for head in layer] for layer in weights.tolist()],
    }
