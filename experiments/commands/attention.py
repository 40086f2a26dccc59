"""Draw a model's attention: `python -m experiments attention --study S --variant V --line "source text" --out folder`.

Writes into the folder a page, index.html, to explore every layer and head, and pictures, as SVG and PNG, of the
self-attention of encoder and decoder and of the cross-attention, in the manner of the paper's Figures 3 to 5. Without
--target the model translates the line itself. Layers and heads are counted from 1, the bottom layer first.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.common import cli
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from experiments.reporting.attention import SentenceAttention


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the page and the pictures of the cell's model."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False)
    parser.add_argument("--line", required=True, metavar="TEXT", help="the source sentence")
    parser.add_argument("--target", metavar="TEXT", help="the decoder's output; the model's own translation by default")
    parser.add_argument(
        "--out", required=True, type=cli.user_path, metavar="FOLDER", help="where the page and the pictures go"
    )
    parser.add_argument("--layer", type=int, metavar="N", help="of the pictures; the top one by default")
    heads = cli.number_list("heads", 1)
    parser.add_argument("--heads", type=heads, metavar="1,2,...", help="of the pictures; all by default")
    parser.add_argument("--token", metavar="WORD", help="of the pictures; only the rows of this word")
    parser.add_argument("--averaged", action="store_true", help="the average of the weights that optim.averaging keeps")
    draw(parser.parse_intermixed_args(argv))


def draw(args: argparse.Namespace) -> None:
    """Write index.html and the pictures into args.out."""
    cell = cli.parse_cell(args)
    folder = args.out
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder")
    source, target = (_text(value, name) for value, name in ((args.line, "--line"), (args.target, "--target")))
    if not source:
        raise UserError("--line is empty; give a sentence of the source language")
    from experiments.common import machine
    from experiments.common.io import write_text
    from experiments.reporting.attention import MAX_TOKENS, sentence_attention
    from experiments.reporting.page.attention import attention_page
    from experiments.scoring.inference import load_models, translate_ids

    machine.set_up(cell.config.trainer.matmul.value)
    (network,), corpus = load_models([cell], args.averaged)
    src = corpus.tokenizer.encode(source)
    if target is None:
        ((best,),) = translate_ids([network], [src], cell.config.decode)
        tgt = best.tokens
    else:
        tgt = corpus.tokenizer.encode(target)
    sentence = sentence_attention(network, corpus.tokenizer, src, tgt)
    if sentence is None:
        raise UserError(
            f"{len(src)} source and {len(tgt)} target tokens are too many to draw: "
            f"give a sentence of at most {MAX_TOKENS} a side"
        )
    pictures = _pictures(sentence, args.layer, args.heads, args.token)
    write_text(folder / "index.html", attention_page(cell.title, [sentence]))
    for name, picture in pictures.items():
        _write(folder, name, picture)
    print(f"{folder}: index.html, {', '.join(f'{name}.svg and .png' for name in pictures)}")


def _pictures(
    sentence: "SentenceAttention", layer: int | None, heads: list[int] | None, word: str | None
) -> dict[str, str]:
    """Draw each stack that has the layer, the heads and the word; raise UserError where none has."""
    from experiments.reporting.attention import word_places
    from experiments.reporting.figures.attention import line_picture

    drawn, reasons = {}, []
    for name, layers in sentence.weights.items():
        index = len(layers) - 1 if layer is None else layer - 1
        if not 0 <= index < len(layers):
            reasons.append(f"{name} has the layers 1 to {len(layers)}, not {layer}")
            continue
        weights = layers[index]
        if weights is None:
            reasons.append(
                f"{name} has no attention weights (its mixer is {sentence.other_mixers.get(name, 'another')})"
            )
            continue
        chosen = list(range(len(weights))) if heads is None else [head - 1 for head in heads]
        if not all(0 <= head < len(weights) for head in chosen):
            reasons.append(f"{name} has the heads 1 to {len(weights)}")
            continue
        rows = None if word is None else word_places(sentence.tokens(name)[0], word)
        if word is not None and rows is None:
            reasons.append(f"{name}: '{word}' is not among {' '.join(sentence.tokens(name)[0])}")
            continue
        drawn[name] = line_picture(sentence, name, index, chosen, rows)
    if not drawn:
        raise UserError(f"nothing to draw: {'; '.join(reasons)}")
    for reason in reasons:
        print(f"no picture: {reason}", file=sys.stderr)
    return drawn


def _write(folder: Path, name: str, picture: str) -> None:
    from experiments.common.io import replace, write_text
    from experiments.reporting.figures.attention import line_picture_png
    from experiments.reporting.figures.style import standalone

    write_text(folder / f"{name}.svg", standalone(picture))
    replace(folder / f"{name}.png", lambda path: path.write_bytes(line_picture_png(picture)))


def _text(value: str | None, name: str) -> str | None:
    """Return a sentence of the command line as preparation would keep it."""
    from data_modules.corpora.text import tidy

    if value is None:
        return None
    if not value.isprintable() and any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise UserError(f"{name} is not UTF-8; convert the text")
    return tidy([value], name, [])[0]
