"""Trained models of cells, and what they translate: for evaluation, translation, export and pictures of attention."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_modules.batches import plan_evaluation
from data_modules.prepared import PreparedCorpus
from data_modules.tokenizer import Tokenizer
from experiments.common.io import read_json
from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig, config_hash
from lit_transformer import Transformer, load_exported
from lit_transformer.batch import TranslationBatch
from lit_transformer.config import DecodeConfig
from lit_transformer.decoding import Hypothesis
from lit_transformer.errors import UserError
from lit_transformer.inference import translate_batch
from lit_transformer.packing import pack_for_search
from lit_transformer.tokens import Ids


def training_record(cell: Cell, corpus: PreparedCorpus) -> dict[str, Any]:
    """Return what the training of a cell recorded.

    Raises UserError where the cell is not trained, or was trained with other settings or data. Whether the code has
    changed since is for DVC to decide.
    """
    path = cell.record_path
    if not path.is_file():
        raise UserError(f"{path} is missing; train the cell first, or `dvc pull` it: {_train(cell)}")
    record = read_json(path)
    trained = record.get("config_hash") if isinstance(record, dict) else None
    expected = config_hash(cell.config, corpus.hash)
    if trained != expected:
        raise UserError(
            f"{path} is of other settings or another corpus ({trained}, now {expected}); train it again: {_train(cell)}"
        )
    return dict(record)


def load_model(cell: Cell, averaged: bool = False) -> Transformer:
    """Load a cell's trained model, in eval(), on a GPU where the training would use one.

    `averaged`: the model of the averaged weights instead of the last. Raises UserError where a file is missing or
    damaged.
    """
    folder = cell.averaged_model_folder if averaged else cell.model_folder
    try:
        network = load_exported(folder)
    except UserError as error:
        raise UserError(f"{error}; or train the cell again: {_train(cell)}") from None
    use_gpu = cell.config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return network.to("cuda" if use_gpu else "cpu")


def load_models(cells: Sequence[Cell], averaged: bool = False) -> tuple[list[Transformer], PreparedCorpus]:
    """Load the models of cells of one study, and its corpus; raise UserError where one is not trained or diverged."""
    corpus = PreparedCorpus.open(cells[0].study.data_folder)
    networks = []
    for cell in cells:
        record = training_record(cell, corpus)
        if record["status"] == "diverged":
            raise UserError(f"{cell.title} diverged at step {record['diverged_at']}: there is no model")
        if averaged and "averaging" not in record:
            raise UserError(f"{cell.title} has no averaged weights; choose an optim.averaging and train")
        networks.append(load_model(cell, averaged))
    return networks, corpus


def trained_seeds(cell: Cell, other_variants: Sequence[str] = ()) -> list[Cell]:
    """Return the trained cells of a cell's variant and of others, the seeds of each in the study's order.

    A diverged training has no model and is left out. Raises UserError where fewer than two are left.
    """
    variants = [cell.variant, *other_variants]
    cells = [Cell(cell.study, variant, seed, cell.overrides) for variant in variants for seed in cell.study.seeds]
    _ = [candidate.config for candidate in cells]  # a misspelt variant is reported as such
    members = [member for member in cells if _has_model(member.record_path)]
    if len(members) < 2:
        missing = next((candidate for candidate in cells if candidate not in members), cell)
        raise UserError(
            f"an ensemble needs at least two models, and {len(members)} of {', '.join(variants)} is trained: "
            f"{_train(missing)}"
        )
    return members


def translate_ids(
    networks: Sequence[Transformer],
    sources: Sequence[Ids],
    decode: DecodeConfig,
    nbest: int = 1,
    progress: Callable[[int], object] = lambda sentences: None,
) -> list[list[Hypothesis]]:
    """Translate by beam search; return each source's `nbest` best hypotheses, best first, in the order given.

    Several networks form an ensemble. Sources are ids without EOS; they are decoded longest first, in batches of
    decode.batch_tokens padded tokens, beam included, and `progress` is called with the size of each batch.
    """
    hypotheses: list[list[Hypothesis]] = [[] for _ in sources]
    if not hypotheses:
        return hypotheses
    lengths = np.array([len(ids) + 1 for ids in sources])
    networks = [pack_for_search(network) for network in networks]
    with torch.inference_mode():
        for indices in plan_evaluation(lengths, lengths, decode.batch_tokens // decode.beam):
            batch = TranslationBatch.from_pairs([(sources[index], []) for index in indices])
            batch = batch.to(networks[0].output_embedding.weight.device)
            best = translate_batch(networks, batch, decode, nbest)
            for index, found in zip(indices, best, strict=True):
                hypotheses[index] = found
            progress(len(indices))
    return hypotheses


def to_line(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """Return the text of token ids in one line, whatever line breaks a model has generated."""
    return " ".join(tokenizer.decode(tokens).splitlines())


def decoding_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings of the search and of BLEU that scores depend on."""
    decode = config.decode
    return {
        "beam": decode.beam,
        "alpha": decode.alpha,
        "extra_length": decode.extra_length,
        "stop": decode.stop.name,
        "bleu_tokenizer": decode.bleu_tokenizer,
    }


def _has_model(record_path: Path) -> bool:
    return record_path.is_file() and bool(read_json(record_path)["status"] == "finished")


def _train(cell: Cell) -> str:
    return f"python -m experiments train {shlex.join(cell.arguments)}"
