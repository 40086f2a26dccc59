"""The modules, parameters and operations of a variant, place by place, beside those of the baseline.

The network is built on the meta device: no number of it is drawn.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from data_modules.prepared import PreparedCorpus
from experiments.config.run_config import RunConfig
from experiments.config.study import Study
from experiments.reporting.formats import MINUS
from lit_transformer import Transformer
from lit_transformer.components.sublayer import Sublayer
from lit_transformer.components.token_mixer import Chain, TokenMixer
from lit_transformer.config import ModelConfig
from lit_transformer.flops import TRAINING_FACTOR, Work, active_parameter_count, build_on_meta, parameter_count
from lit_transformer.layers import Stack
from lit_transformer.training.objective import forward_passes

FACTORS = "Operations: multiplications and additions of matrix products, forward; training costs {} times as much."


@dataclass(frozen=True)
class Part:
    """A row of the table: a place in the model, its modules, and their cost."""

    place: str
    modules: str
    parameters: int
    operations: float
    """Of a forward pass, for one target token and its share of the source tokens."""


@dataclass(frozen=True)
class Size:
    """What costs depend on beside the config: ids of the vocabulary, and tokens per sentence."""

    vocab: int
    source: int
    target: int
    origin: str


def describe(study: Study, variant: str, overrides: Sequence[str], length: int, modules: bool) -> None:
    """Print a variant beside its study's baseline; `length`: tokens per sentence where no corpus is prepared."""
    base = study.config(study.baseline, study.seeds[0])
    config = study.config(variant, study.seeds[0], overrides)
    size = size_of(study, config, length)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # lines in a file do not fold
    changes = study.describe(variant, overrides)
    console.print(f"{study.name}/{variant}: {changes}", style="bold", soft_wrap=True, markup=False)
    _print(console, parts_of(config.model, size), parts_of(base.model, size), study.baseline)
    factors = FACTORS.format(TRAINING_FACTOR * forward_passes(config.optim))
    sentences = f"{size.source} source and {size.target} target tokens a sentence ({size.origin})"
    console.print(f"{size.vocab:,} ids in the vocabulary; {sentences}. {factors}", style="dim", soft_wrap=True)
    if modules:
        console.print(str(build_on_meta(config.model, size.vocab)), markup=False, soft_wrap=True)


def size_of(study: Study, config: RunConfig, length: int) -> Size:
    """Return the size of the prepared corpus, else the config's vocabulary and the given length."""
    if not (study.data_folder / "corpus.json").exists():
        return Size(config.data.vocab_size, length, length, "--length; the corpus is not prepared")
    corpus = PreparedCorpus.open(study.data_folder)
    train = corpus.split("train")
    source, target = (round(float(lengths.mean())) for lengths in (train.source_lengths, train.target_lengths))
    return Size(corpus.vocab_size, source, target, "the training split's mean")


def parts_of(config: ModelConfig, size: Size) -> list[Part]:
    """Return the parameters and operations of a model place by place; the last part is the whole model."""
    model = build_on_meta(config, size.vocab)
    work = Work.of_lengths(config, torch.tensor([size.source]), torch.tensor([size.target]))
    share = size.source / size.target  # source tokens per target token
    parts = [_embeddings(model)]
    parts += _stack_parts("encoder", model.encoder, share, {"": (share, share, work.src_squared / size.target)})
    self_attention = (1.0, 1.0, work.tgt_squared / size.target)
    cross_attention = (1.0, share, float(size.source))
    parts += _stack_parts("decoder", model.decoder, 1.0, {"": self_attention, "cross": cross_attention})
    parts.append(Part("softmax", f"{config.embeddings.tying} tying", 0, 2.0 * config.d_model * size.vocab))
    total, active = parameter_count(model), active_parameter_count(model)
    note = "" if active == total else f"{active:,} active per token"
    return [*parts, Part("all", note, total, sum(part.operations for part in parts))]


def _embeddings(model: Transformer) -> Part:
    tables = {
        id(p): p.numel()
        for module in (model.src_embedding, model.tgt_embedding, model.output_embedding)
        for p in module.parameters()
    }
    return Part("embeddings", _name(model.src_embedding.positions), sum(tables.values()), 0.0)


def _stack_parts(name: str, stack: Stack, share: float, tokens: dict[str, tuple[float, float, float]]) -> list[Part]:
    """Return a part for each kind of sub-layer, summed over layers; tokens: queries, keys and pairs by sub-layer."""
    grouped: dict[str, list[TokenMixer]] = {}
    for kind, sublayer in stack.sublayers():
        grouped.setdefault(kind, []).append(sublayer)
    parts = []
    for kind, sublayers in grouped.items():
        queries, keys, pairs = tokens.get(kind, tokens[""])
        costs = [sublayer.cost() for sublayer in sublayers]
        operations = sum(cost.query * queries + cost.key * keys + cost.pair * pairs for cost in costs)
        parameters = {id(p): p.numel() for sublayer in sublayers for p in sublayer.parameters()}
        place = f"{name} {kind} x{len(sublayers)}"
        parts.append(Part(place, _module_names(sublayers[0]), sum(parameters.values()), operations))
    final_norm = sum(p.numel() for p in stack.norm.parameters())
    return parts + ([Part(f"{name} end", _name(stack.norm), final_norm, 0.0)] if final_norm else [])


def _module_names(sublayer: TokenMixer) -> str:
    """Name a sub-layer and its modules in the order of the data: "PreNorm: LayerNorm, SelfAttention, Add"."""
    placement = next(_name(module) for module in sublayer.modules() if isinstance(module, Sublayer))
    names = [name for name in map(_name, _steps(sublayer)) if name not in ("Identity", "Dropout")]
    return f"{placement}: {', '.join(names)}"


def _steps(module: nn.Module) -> list[nn.Module]:
    """Return the modules of a sub-layer in the order of the data."""
    parts = module.children() if isinstance(module, Sublayer) else module.links if isinstance(module, Chain) else ()
    return [step for part in parts for step in _steps(part)] or [module]


def _name(module: Any) -> str:
    return type(module).__name__


def _print(console: Console, parts: list[Part], base: list[Part], baseline: str) -> None:
    """Print the parts with, where they differ, the difference from the baseline's."""
    baseline_parts = {part.place: part for part in base}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("place", "what"):
        table.add_column(title, overflow="fold")
    for title in ("parameters", f"vs {baseline}", "operations", f"vs {baseline}"):
        table.add_column(title, justify="right", no_wrap=True)
    for part in parts:
        before = baseline_parts.pop(part.place, Part(part.place, "", 0, 0.0))
        cells = [part.place, part.modules, f"{part.parameters:,}", _difference(part.parameters - before.parameters)]
        cells += [f"{round(part.operations):,}", _difference(round(part.operations - before.operations))]
        table.add_row(*cells, style="bold" if part.place == "all" else None)
    for gone in baseline_parts.values():
        parameters, operations = _difference(-gone.parameters), _difference(-round(gone.operations))
        table.add_row(gone.place, "not here", "0", parameters, "0", operations)
    console.print(table)


def _difference(value: int) -> str:
    return f"{value:+,}".replace("-", MINUS) if value else ""
