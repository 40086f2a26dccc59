"""Translate text: `python -m experiments translate --study S --variant V [key=value ...] < text > translations`.

Reads UTF-8 lines and writes one translation per line, in the same order, a window of lines at a time. Only a line feed
ends a line. As in preparation, blanks at the ends of a line (a carriage return, too) are removed and other line breaks
inside, such as U+2028, become blanks. A line of blanks alone gives an empty line, and so does one that is too long for
the model or for memory, which is named, and the exit status is then 2. A translation has at most decode.extra_length
tokens more than its source.

--nbest N writes N lines for every line, best first; hypotheses that the model does not have are empty. --scores writes
three columns separated by tabs: log P(Y | X) over the length penalty, by which they are ordered; log P(Y | X), in nats;
the translation. The scores of an empty line are 0, and of a missing hypothesis, -inf.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.common import cli
from experiments.config.run_config import RunConfig
from lit_transformer.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and translate standard input to standard output."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False)
    parser.add_argument(
        "--ensemble", action="store_true", help="all trained seeds of the variant as one; decode.ensemble says how"
    )
    parser.add_argument("--averaged", action="store_true", help="the average of the weights that optim.averaging keeps")
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="lines for each line, at most decode.beam")
    parser.add_argument("--scores", action="store_true", help="put score and log-probability before each translation")
    about = "also write a page that shows the model's attention in the first lines that are not too long to draw"
    parser.add_argument("--attention", type=cli.user_path, metavar="FILE.html", help=about)
    args = parser.parse_intermixed_args(argv)
    cell = cli.parse_cell(args)
    page_path = _check(args, cell.config)
    from experiments.common import machine
    from experiments.common.io import write_text
    from experiments.reporting.attention import fits, sentence_attention
    from experiments.reporting.page.attention import MAX_SENTENCES, attention_page
    from experiments.scoring.inference import load_models, trained_seeds
    from experiments.scoring.translator import Translator, translate_stream

    machine.set_up(cell.config.trainer.matmul.value)
    members = trained_seeds(cell) if args.ensemble else [cell]
    if args.ensemble:
        print(f"ensemble of the seeds {', '.join(str(member.seed) for member in members)}", file=sys.stderr)
    networks, corpus = load_models(members, args.averaged)
    drawn: list[tuple[list[int], list[int]]] = []

    def keep_for_page(src: list[int], tgt: list[int]) -> None:
        if page_path and len(drawn) < MAX_SENTENCES and fits(src, tgt):
            drawn.append((src, tgt))

    translator = Translator(networks, corpus.tokenizer, cell.config, args.nbest, args.scores, keep_for_page)
    translate_stream(translator, sys.stdin.buffer, sys.stdout.buffer)
    if page_path:
        maps = [sentence_attention(networks[0], corpus.tokenizer, src, tgt) for src, tgt in drawn]
        sentences = [sentence for sentence in maps if sentence]
        write_text(page_path, attention_page(cell.title, sentences))
        print(f"{page_path}: {len(sentences)} sentences", file=sys.stderr)


def _check(args: argparse.Namespace, config: RunConfig) -> Path | None:
    """Refuse impossible arguments before anything slow begins; return the path of the page of attention, if any."""
    if args.nbest < 1:
        raise UserError(f"--nbest is {args.nbest}; it must be at least 1")
    if args.nbest > config.decode.beam:
        raise UserError(
            f"--nbest {args.nbest} needs as many hypotheses as it writes; add decode.beam={args.nbest} "
            f"(it is {config.decode.beam})"
        )
    if args.ensemble and args.seed is not None:
        raise UserError("--ensemble takes all trained seeds; leave out --seed")
    if not args.attention:
        return None
    if args.ensemble:
        raise UserError("--attention shows one model; leave out --ensemble and choose a --seed")
    page: Path = args.attention
    if page.is_dir():
        raise UserError(f"--attention {page} is a folder; name a file in it, such as attention.html")
    return page
