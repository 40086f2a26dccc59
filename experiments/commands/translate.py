"""Translate text: `python -m experiments translate --study S --variant V [key=value ...] < text > translations`.

Reads UTF-8 lines and writes one translation a line, in the same order, a window of lines at a time. Only a line feed
ends a line. As in preparation, blanks at the ends of a line (a carriage return, too) are removed and other line breaks
inside, such as U+2028, become blanks. A line of blanks alone gives an empty line. A translation has at most
decode.extra_length tokens more than its source.

--nbest N writes N lines for every line, best first; lines that the model does not have are empty. --scores writes
three columns apart by tabs: the score, log P(Y | X) over the length penalty, by which they are ordered; log P(Y | X),
in nats; the translation. The scores of an empty line are 0, and of a line that the model does not have, -inf.
"""

import argparse
import math
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from experiments.common import cli, machine
from experiments.config.cell import Cell
from experiments.config.run_config import RunConfig
from experiments.reporting.attention import MAX_TOKENS, fits, sentence_attention
from experiments.reporting.page.attention import MAX_SENTENCES, attention_page
from experiments.scoring.inference import to_line, trained_networks, trained_seeds, translate_ids
from lit_transformer.errors import UserError

if TYPE_CHECKING:
    from data_modules.tokenizer import Tokenizer
    from lit_transformer import Transformer
    from lit_transformer.decoding import Hypothesis

WINDOW = 2048
"""Lines read before they are translated, sorted by length among themselves."""
WINDOW_BYTES = 1 << 20
"""A window ends early where its lines are that long together."""


@dataclass(frozen=True)
class Line:
    """A line of the input: its number from 1, and its text as preparation would keep it."""

    number: int
    text: str


@dataclass
class Translator:
    """Networks that translate as one, and how their translations are written."""

    networks: "list[Transformer]"
    tokenizer: "Tokenizer"
    config: RunConfig
    nbest: int = 1
    scores: bool = False
    first: "list[tuple[list[int], list[int]]]" = field(default_factory=list)
    """The first pairs of source and best translation that a page shows, `keep` of them: token ids, for --attention."""
    keep: int = 0

    def translate(self, lines: list[Line], done: Callable[[int], object] = lambda lines: None) -> Iterator[str]:
        """Yield what is written for some lines: `nbest` for each, in order.

        Raises UserError, after the lines before it, for a line that the model cannot place.
        """
        sources = self.tokenizer.encode_batch([line.text for line in lines])
        refused = next((place for place, ids in enumerate(sources) if self._too_long(ids)), None)
        found = self._found(lines[:refused], sources[:refused], done)
        for ids, hypotheses in zip(sources, found, strict=False):
            if ids and len(self.first) < self.keep and fits(ids, hypotheses[0].tokens):
                self.first.append((ids, hypotheses[0].tokens))
            yield from self._written(bool(ids), hypotheses)
        if refused is not None:
            raise UserError(
                f"line {lines[refused].number} has {len(sources[refused])} tokens, and the learned positions of this "
                f"model end at {self._places()}: split the line, or raise model.positions.max_length and train again"
            )

    def _found(
        self, lines: list[Line], sources: list[list[int]], done: Callable[[int], object]
    ) -> list[list["Hypothesis"]]:
        """Search for the translations of those lines that are not empty."""
        full = [place for place, ids in enumerate(sources) if ids]
        found: list[list[Hypothesis]] = [[] for _ in sources]
        done(len(sources) - len(full))
        try:
            best = translate_ids(
                self.networks, [sources[place] for place in full], self.config.decode, self.nbest, done
            )
        except RuntimeError as error:  # torch has no other error for a CPU, and one below this one for a GPU
            if "memory" not in str(error):
                raise
            longest = max(full, key=lambda place: len(sources[place]))
            raise UserError(
                f"not enough memory: line {lines[longest].number} has {len(sources[longest])} tokens; split it, "
                f"or lower decode.batch_tokens ({self.config.decode.batch_tokens})"
            ) from None
        for place, hypotheses in zip(full, best, strict=True):
            found[place] = hypotheses
        return found

    def _written(self, full: bool, hypotheses: list["Hypothesis"]) -> Iterator[str]:
        for rank in range(self.nbest):
            score = log_prob = -math.inf if full else 0.0
            text = ""
            if rank < len(hypotheses):
                own = hypotheses[rank]
                score, log_prob, text = own.score, own.log_prob, to_line(self.tokenizer, own.tokens)
            yield f"{score:.4f}\t{log_prob:.4f}\t{text}" if self.scores else text

    def _places(self) -> float:
        """Return the most tokens of a source, EOS included, that every encoder can place."""
        limits = [network.src_embedding.positions.limit for network in self.networks]
        return min([limit for limit in limits if limit is not None], default=math.inf)

    def _too_long(self, ids: list[int]) -> bool:
        return len(ids) + 1 > self._places()


def main() -> None:
    """Parse the command line and translate standard input to standard output."""
    parser = cli.cell_parser(__doc__ or "", seed_required=False)
    parser.add_argument(
        "--ensemble", action="store_true", help="all trained seeds of the variant as one; decode.ensemble says how"
    )
    parser.add_argument("--averaged", action="store_true", help="the average of the weights that optim.averaging keeps")
    parser.add_argument("--nbest", type=int, default=1, metavar="N", help="lines for each line, at most decode.beam")
    parser.add_argument("--scores", action="store_true", help="put score and log-probability before each translation")
    about = f"also write a page that shows what the model attends to, of the first {MAX_SENTENCES} lines"
    parser.add_argument("--attention", metavar="FILE.html", help=f"{about} of at most {MAX_TOKENS} tokens a side")
    args = parser.parse_args()
    cell = cli.parse_cell(args)
    page = _checked(args, cell.config)
    machine.set_up(cell.config.trainer.matmul.value)
    networks, corpus = trained_networks(_cells(cell, args.ensemble), args.averaged)
    keep = MAX_SENTENCES if page else 0
    translator = Translator(networks, corpus.tokenizer, cell.config, args.nbest, args.scores, keep=keep)
    translate_stream(translator, sys.stdin.buffer, sys.stdout.buffer)
    if page:
        _draw(page, translator, cell)


def translate_stream(translator: Translator, source: BinaryIO, target: BinaryIO) -> None:
    """Translate every line of one stream into another, a window at a time; a terminal gets its answer line by line."""
    window = 1 if source.isatty() else WINDOW
    with _bar(source) as done:
        for lines in windows(source, window):
            try:
                for text in translator.translate(lines, done):
                    target.write(text.encode() + b"\n")
            finally:
                target.flush()


def windows(stream: Iterable[bytes], most: int = WINDOW) -> Iterator[list[Line]]:
    """Yield the lines of a stream, `most` at a time; after them, raise UserError where the next is not UTF-8."""
    from data_modules.corpora.text import tidy

    window: list[Line] = []
    size = 0
    for number, raw in enumerate(stream, start=1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if window:
                yield window
            raise UserError(
                f"line {number} is not UTF-8 (byte 0x{raw[error.start]:02x} at place {error.start + 1}); "
                "convert the text, for example with iconv"
            ) from None
        window.append(Line(number, *tidy([text], "", [])))
        size += len(raw)
        if len(window) == most or size >= WINDOW_BYTES:
            yield window
            window, size = [], 0
    if window:
        yield window


def _checked(args: argparse.Namespace, config: RunConfig) -> Path | None:
    """Say what cannot be before anything slow begins; return the page's path, if one is asked for."""
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
    page = cli.STARTED_IN / args.attention
    if page.is_dir():
        raise UserError(f"--attention {args.attention} is a folder; name a file in it, such as attention.html")
    return page


def _cells(cell: Cell, ensemble: bool) -> list[Cell]:
    """Return the cell, or those of its variant that are trained."""
    if not ensemble:
        return [cell]
    members = trained_seeds(cell)
    print(f"ensemble of the seeds {', '.join(str(one.seed) for one in members)}", file=sys.stderr)
    return members


def _draw(page: Path, translator: Translator, cell: Cell) -> None:
    from experiments.common.io import write_text

    network, tokenizer = translator.networks[0], translator.tokenizer
    shown = [found for src, tgt in translator.first if (found := sentence_attention(network, tokenizer, src, tgt))]
    write_text(page, attention_page(cell.title, shown))
    print(f"{page}: {len(shown)} sentences", file=sys.stderr)


@contextmanager
def _bar(source: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many lines are translated, of how many where the source is a file."""
    if not sys.stderr.isatty() or sys.stdout.isatty():  # a bar among the translations would tear them
        yield lambda lines: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("lines"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("lines", total=_lines_left(source))
        yield lambda lines: progress.advance(task, lines)


def _lines_left(source: BinaryIO) -> int | None:
    """Count the lines of a file from where it stands; None for what can be read once only."""
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        return None
    start = source.tell()
    count = sum(1 for _ in source)
    source.seek(start)
    return count
