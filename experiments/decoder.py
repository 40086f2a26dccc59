"""A cell's trained network, and what it translates: what evaluating and translating share."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from experiments import machine
from experiments.files import read_json
from experiments.run_config import RunConfig, training_hash
from experiments.study import Cell
from lit_transformer.config import DecodeConfig, Ensemble
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    import torch

    from data_modules.prepared import PreparedCorpus
    from data_modules.tokenizer import Tokenizer
    from lit_transformer import Transformer
    from lit_transformer.batch import Ids
    from lit_transformer.decoding import Hypothesis

LAST = "last.ckpt"
AVERAGED = "averaged.pt"
"""The weights of a run: those of its last step, and their average where optim.averaging asks for one."""


def training_record(cell: Cell, config: RunConfig, corpus: "PreparedCorpus") -> dict[str, Any]:
    """Return what the training of a cell recorded; a `UserError` where it is missing or of another config or code."""
    path = cell.run_folder / "training.json"
    command = f"python -m experiments.train {cell.arguments}"
    if not path.is_file():
        raise UserError(f"{path} is missing; train the cell first: {command}")
    record: dict[str, Any] = read_json(path)
    expected = training_hash(config, corpus.hash, machine.code_hash())
    if record["config_hash"] != expected:
        raise UserError(
            f"{path} is of another config, corpus or code ({record['config_hash']}, now {expected}); "
            f"train it again: {command}"
        )
    return record


def load_network(cell: Cell, config: RunConfig, corpus: "PreparedCorpus", weights: str = LAST) -> "Transformer":
    """Build the network and fill it from a file of the run, on a GPU where the training would use one.

    Raises UserError where the file is missing, damaged or not of the training that training.json tells of.
    """
    import torch

    from experiments.seals import fault_of
    from lit_transformer import build_transformer

    path = cell.run_folder / weights
    again = f"train the cell again: python -m experiments.train {cell.arguments}"
    if not path.is_file():
        raise UserError(f"{path} is missing; {again}")
    if fault := fault_of(path, read_json(cell.run_folder / "training.json")):
        raise UserError(f"{path} {fault}; {again}")
    network = build_transformer(config.model, corpus.vocab_size)
    saved = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    network.load_state_dict({key.removeprefix("network."): value for key, value in saved.items()})
    use_gpu = config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return network.to("cuda" if use_gpu else "cpu").eval()


def trained_seeds(cell: Cell, others: Sequence[str] = ()) -> list[Cell]:
    """Return the trained cells of a cell's variant and of others, the seeds of each in the study's order.

    A diverged training leaves no model and is none of them. A `UserError` where there are fewer than two to join.
    """
    variants = [cell.variant, *others]
    cells = [Cell(cell.study, name, seed, cell.overrides) for name in variants for seed in cell.study.seeds]
    _ = [one.config for one in cells]  # a misspelt variant is said before anything slow is imported
    members = [one for one in cells if _has_a_model(one)]
    if len(members) < 2:
        missing = next((one for one in cells if one not in members), cell)
        raise UserError(
            f"an ensemble has two models at least, and {len(members)} of {', '.join(variants)} is trained: "
            f"python -m experiments.train {missing.arguments}"
        )
    return members


def _has_a_model(cell: Cell) -> bool:
    path = cell.run_folder / "training.json"
    return path.is_file() and bool(read_json(path)["status"] == "finished")


def trained_networks(cells: Sequence[Cell], averaged: bool = False) -> tuple[list["Transformer"], "PreparedCorpus"]:
    """Load the networks of cells of one study, and its corpus; a `UserError` where one is not trained, or diverged.

    `averaged`: the average of the weights that a run with optim.averaging keeps, instead of its last weights.
    """
    from data_modules.prepared import PreparedCorpus

    corpus = PreparedCorpus.open(cells[0].study.data_folder)
    networks = []
    for cell in cells:
        record = training_record(cell, cell.config, corpus)
        if record["status"] == "diverged":
            raise UserError(f"{cell.run_folder} diverged at step {record['diverged_at']}: there is no model")
        if averaged and "averaging" not in record:
            raise UserError(f"{cell.run_folder} keeps no average of its weights; choose an optim.averaging and train")
        networks.append(load_network(cell, cell.config, corpus, AVERAGED if averaged else LAST))
    return networks, corpus


def translate_ids(
    networks: Sequence["Transformer"],
    sources: Sequence["Ids"],
    decode: DecodeConfig,
    nbest: int = 1,
    done: Callable[[int], object] = lambda sentences: None,
) -> list[list["Hypothesis"]]:
    """Translate by beam search; return each source's `nbest` best hypotheses, best first, in the order given.

    Several networks translate as one. Sources are ids without EOS; they are decoded longest first, in batches of
    decode.batch_tokens padded tokens, beam included, and `done` hears how many each batch held.
    """
    import numpy as np
    import torch

    from data_modules.token_batches import plan_evaluation
    from lit_transformer.batch import TranslationBatch
    from lit_transformer.decoding import beam_search, greedy_search
    from lit_transformer.packing import pack_for_search

    found: list[list[Hypothesis]] = [[] for _ in sources]
    if not found:
        return found
    lengths = np.array([len(ids) + 1 for ids in sources])
    networks = [pack_for_search(network) for network in networks]
    step, start = _joined(networks, decode.ensemble)
    with torch.inference_mode():
        for places in plan_evaluation(lengths, lengths, max(1, decode.batch_tokens // decode.beam)):
            batch = TranslationBatch.from_pairs([(sources[place], []) for place in places])
            batch = batch.to(networks[0].output_embedding.weight.device)
            longest = max_lengths(batch.src_layout.lengths, networks, decode)
            rules: dict[str, Any] = {"alpha": decode.alpha, "max_lengths": longest}
            if decode.beam == nbest == 1:  # a beam of one, with less to keep
                best = [[only] for only in greedy_search(step, start(batch), **rules)]
            else:
                best = beam_search(step, start(batch), beam=decode.beam, nbest=nbest, **rules)
            for place, hypotheses in zip(places, best, strict=True):
                found[place] = hypotheses
            done(len(places))
    return found


def max_lengths(src_lengths: "torch.Tensor", networks: Sequence["Transformer"], decode: DecodeConfig) -> "torch.Tensor":
    """Source tokens (EOS apart) + 50, as in section 6.1; never past the places a decoder knows."""
    longest = src_lengths - 1 + decode.extra_length
    limits = [network.max_target_length - 1 for network in networks if network.max_target_length is not None]
    return longest.clamp(max=min(limits)) if limits else longest


def to_line(tokenizer: "Tokenizer", tokens: Sequence[int]) -> str:
    """Return the text of token ids in one line, whatever kinds of line breaks a model has said."""
    return " ".join(tokenizer.decode(tokens).splitlines())


def _joined(networks: Sequence["Transformer"], kind: Ensemble) -> tuple[Any, Any]:
    """Return the step of all networks as one, and what begins its state from a batch."""
    from lit_transformer.decoding import EnsembleState, ensemble_step

    def starts(batch: Any) -> list[Any]:
        return [network.init_cache(network.encode_packed(batch.src, batch.src_layout)) for network in networks]

    if len(networks) == 1:
        return networks[0].step, lambda batch: starts(batch)[0]
    return ensemble_step([network.step for network in networks], kind), lambda batch: EnsembleState(starts(batch))
