"""Prints what a variant is: its layers, parameters and operations a token, and what differs from the baseline.

    python -m experiments describe --study components --variant one_head
    python -m experiments describe --study components --variant base model.norm.placement=pre

Nothing is trained and no number of the model is drawn: the network is built in outline. Sentences are as long as the
prepared corpus's on average, where there is one, else as --length says.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from experiments.config.run_config import RunConfig
from experiments.config.study import Study, load_study
from experiments.reporting.formats import MINUS
from lit_transformer.config import ModelConfig

if TYPE_CHECKING:
    from lit_transformer.components.sublayer import Sublayer
    from lit_transformer.layers import Stack
    from lit_transformer.transformer import Transformer

FACTORS = "Operations: multiplications and additions of matrix products, forward; training costs {} times as much."


@dataclass(frozen=True)
class Line:
    """A line of the table: a place in the model, what stands there, and what it costs."""

    place: str
    what: str
    parameters: int
    operations: float
    """Forward, for one target token and its share of the source's."""


@dataclass(frozen=True)
class Size:
    """What costs depend on beside the config: the vocabulary, and tokens a sentence."""

    vocab: int
    source: int
    target: int
    origin: str


def main(argv: Sequence[str] | None = None) -> None:
    """Print the description of one variant beside its study's baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="a folder of experiments/studies")
    parser.add_argument("--variant", required=True, help="a variant of that study")
    parser.add_argument("--length", type=int, default=25, help="tokens a sentence, without a prepared corpus (25)")
    parser.add_argument("--modules", action="store_true", help="print every module of the network too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change a setting, as for training")
    args = parser.parse_args(argv)
    from lit_transformer.flops import TRAINING_FACTOR
    from lit_transformer.training.objective import forward_passes

    study = load_study(args.study)
    base = study.config(study.baseline, study.seeds[0])
    config = study.config(args.variant, study.seeds[0], args.overrides)
    size = size_of(study, config, args.length)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)  # a file does not fold
    changes = ", ".join([study.describe(args.variant), *args.overrides])
    console.print(f"{study.name}/{args.variant}: {changes}", style="bold", soft_wrap=True, markup=False)
    _print(console, lines_of(config.model, size), lines_of(base.model, size), study.baseline)
    factors = FACTORS.format(TRAINING_FACTOR * forward_passes(config.optim))
    sentences = f"{size.source} source and {size.target} target tokens a sentence ({size.origin})"
    console.print(f"{size.vocab:,} ids in the vocabulary; {sentences}. {factors}", style="dim", soft_wrap=True)
    if args.modules:
        from lit_transformer.flops import outline

        console.print(str(outline(config.model, size.vocab)), markup=False, soft_wrap=True)


def size_of(study: Study, config: RunConfig, length: int) -> Size:
    """Read the prepared corpus if it is there, else take the config's vocabulary and the given length."""
    from data_modules.prepared import PreparedCorpus

    if not (study.data_folder / "corpus.json").exists():
        return Size(config.data.vocab_size, length, length, "--length; the corpus is not prepared")
    corpus = PreparedCorpus.open(study.data_folder)
    train = corpus.split("train")
    source, target = (round(float(lengths.mean())) for lengths in (train.source_lengths, train.target_lengths))
    return Size(corpus.vocab_size, source, target, "the training split's mean")


def lines_of(config: ModelConfig, size: Size) -> list[Line]:
    """Count a model place by place, then as a whole; the last line is the sum of the others."""
    import torch

    from lit_transformer.flops import Work, active_parameter_count, outline, parameter_count

    model = outline(config, size.vocab)
    work = Work.of_lengths(config, torch.tensor([size.source]), torch.tensor([size.target]))
    share = size.source / size.target  # source tokens for each target token
    lines = [_embeddings(model)]
    lines += _stack_lines("encoder", model.encoder, share, {"": (share, share, work.src_squared / size.target)})
    own = (1.0, 1.0, work.tgt_squared / size.target)
    lines += _stack_lines("decoder", model.decoder, 1.0, {"": own, "cross": (1.0, share, float(size.source))})
    lines.append(Line("softmax", f"{config.embeddings.tying} tying", 0, 2.0 * config.d_model * size.vocab))
    total, active = parameter_count(config, size.vocab), active_parameter_count(config, size.vocab)
    what = "" if active == total else f"{active:,} meet a token"
    return [*lines, Line("all", what, total, sum(line.operations for line in lines))]


def _embeddings(model: "Transformer") -> Line:
    tables = {
        id(p): p.numel()
        for part in (model.src_embedding, model.tgt_embedding, model.softmax)
        for p in part.parameters()
    }
    return Line("embeddings", _named(model.src_embedding.positions), sum(tables.values()), 0.0)


def _stack_lines(name: str, stack: "Stack", share: float, tokens: dict[str, tuple[float, float, float]]) -> list[Line]:
    """Return a line for each kind of sub-layer, its layers summed. tokens: of queries, keys and pairs, by its name."""
    grouped: dict[str, list[Sublayer]] = {}
    for place, sublayer in stack.sublayers():
        grouped.setdefault(place, []).append(sublayer)
    lines = []
    for place, sublayers in grouped.items():
        queries, keys, pairs = tokens.get(place, tokens[""])
        costs = [sublayer.cost() for sublayer in sublayers]
        operations = sum(cost.query * queries + cost.key * keys + cost.pair * pairs for cost in costs)
        parameters = {id(p): p.numel() for sublayer in sublayers for p in sublayer.parameters()}
        lines.append(
            Line(f"{name} {place} x{len(sublayers)}", _around(sublayers[0]), sum(parameters.values()), operations)
        )
    final = sum(p.numel() for p in stack.norm.parameters())
    return lines + ([Line(f"{name} end", _named(stack.norm), final, 0.0)] if final else [])


def _around(sublayer: "Sublayer") -> str:
    """Name a sub-layer's parts in the order of the data: "LayerNorm, SelfAttention, Add"."""
    parts = (
        sublayer.norm_before,
        sublayer.inner,
        sublayer.norm_behind,
        sublayer.bypass,
        sublayer.residual,
        sublayer.norm_after,
    )
    names = [_named(part) for part in parts]
    return ", ".join(name for name in names if name not in ("Identity", "Straight"))


def _named(part: Any) -> str:
    return type(getattr(part, "inner", part)).__name__


def _print(console: Console, lines: list[Line], base: list[Line], baseline: str) -> None:
    """Print the lines with, where they differ, the difference to the baseline's."""
    before = {line.place: line for line in base}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("place", "what"):
        table.add_column(title, overflow="fold")
    for title in ("parameters", f"vs {baseline}", "operations", f"vs {baseline}"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in lines:
        other = before.pop(line.place, Line(line.place, "", 0, 0.0))
        cells = [line.place, line.what, f"{line.parameters:,}", _gap(line.parameters - other.parameters)]
        cells += [f"{round(line.operations):,}", _gap(round(line.operations - other.operations))]
        table.add_row(*cells, style="bold" if line.place == "all" else None)
    for gone in before.values():
        table.add_row(gone.place, "not here", "0", _gap(-gone.parameters), "0", _gap(-round(gone.operations)))
    console.print(table)


def _gap(difference: int) -> str:
    return f"{difference:+,}".replace("-", MINUS) if difference else ""
