"""Translation of a stream of text, line by line, in windows that are sorted by length among themselves."""

import math
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_modules.corpora.text import tidy
from data_modules.tokenizer import Tokenizer
from experiments.config.run_config import RunConfig
from experiments.scoring.inference import to_line, translate_ids
from lit_transformer import Transformer
from lit_transformer.decoding import Hypothesis
from lit_transformer.errors import UserError

WINDOW = 2048
"""Lines that are read before they are translated."""
WINDOW_BYTES = 1 << 20
"""A window ends early when its lines are this long together."""


@dataclass(frozen=True)
class Line:
    """A line of the input: its number from 1, and its text as `prepare` would normalise it."""

    number: int
    text: str


@dataclass
class Translator:
    """One or more networks, translating as one, and the format of their output."""

    networks: list[Transformer]
    tokenizer: Tokenizer
    config: RunConfig
    nbest: int = 1
    scores: bool = False
    on_translation: Callable[[list[int], list[int]], object] = lambda source, best: None
    """Called with the token ids of each source that is not empty and of its best translation, in order."""

    def translate(self, lines: Sequence[Line], progress: Callable[[int], object] = lambda lines: None) -> Iterator[str]:
        """Yield the `nbest` output lines of each line, in order.

        Raises UserError, after the lines before it, for a line of more tokens than the model has positions.
        """
        sources = self.tokenizer.encode_batch([line.text for line in lines])
        refused = next((index for index, ids in enumerate(sources) if self._is_too_long(ids)), None)
        translations = self._search(lines[:refused], sources[:refused], progress)
        for ids, hypotheses in zip(sources, translations, strict=False):
            if ids:
                self.on_translation(ids, hypotheses[0].tokens)
            yield from self._output_lines(bool(ids), hypotheses)
        if refused is not None:
            raise UserError(
                f"line {lines[refused].number} has {len(sources[refused])} tokens, and the learned positions of this "
                f"model end at {self._max_tokens()}: split the line, or raise model.positions.max_length and train "
                "again"
            )

    def _search(
        self, lines: Sequence[Line], sources: list[list[int]], progress: Callable[[int], object]
    ) -> list[list[Hypothesis]]:
        """Return the hypotheses of each source; none for an empty one."""
        filled = [index for index, ids in enumerate(sources) if ids]
        hypotheses: list[list[Hypothesis]] = [[] for _ in sources]
        progress(len(sources) - len(filled))
        try:
            best = translate_ids(
                self.networks, [sources[index] for index in filled], self.config.decode, self.nbest, progress
            )
        except RuntimeError as error:  # torch has no narrower error for both CPU and GPU
            if "memory" not in str(error):
                raise
            longest = max(filled, key=lambda index: len(sources[index]))
            raise UserError(
                f"not enough memory: line {lines[longest].number} has {len(sources[longest])} tokens; split it, "
                f"or lower decode.batch_tokens ({self.config.decode.batch_tokens})"
            ) from None
        for index, found in zip(filled, best, strict=True):
            hypotheses[index] = found
        return hypotheses

    def _output_lines(self, filled: bool, hypotheses: list[Hypothesis]) -> Iterator[str]:
        for rank in range(self.nbest):
            score = log_prob = -math.inf if filled else 0.0
            text = ""
            if rank < len(hypotheses):
                hypothesis = hypotheses[rank]
                score, log_prob, text = (
                    hypothesis.score,
                    hypothesis.log_prob,
                    to_line(self.tokenizer, hypothesis.tokens),
                )
            yield f"{score:.4f}\t{log_prob:.4f}\t{text}" if self.scores else text

    def _max_tokens(self) -> float:
        """Return the most tokens of a source, EOS included, for which every encoder has positions."""
        limits = [network.src_embedding.positions.max_length for network in self.networks]
        return min([limit for limit in limits if limit is not None], default=math.inf)

    def _is_too_long(self, ids: list[int]) -> bool:
        return len(ids) + 1 > self._max_tokens()


def translate_stream(translator: Translator, source: BinaryIO, target: BinaryIO) -> None:
    """Translate every line of one stream into another, window by window; from a terminal, line by line."""
    window = 1 if source.isatty() else WINDOW
    with _progress_bar(source) as progress:
        for lines in windows(source, window):
            try:
                for text in translator.translate(lines, progress):
                    target.write(text.encode() + b"\n")
            finally:
                target.flush()


def windows(stream: Iterable[bytes], size: int = WINDOW) -> Iterator[list[Line]]:
    """Yield the lines of a stream, at most `size` at a time; raise UserError at the first line that is not UTF-8."""
    window: list[Line] = []
    window_bytes = 0
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
        window_bytes += len(raw)
        if len(window) == size or window_bytes >= WINDOW_BYTES:
            yield window
            window, window_bytes = [], 0
    if window:
        yield window


@contextmanager
def _progress_bar(source: BinaryIO) -> Iterator[Callable[[int], None]]:
    """Show on a terminal the number of translated lines, and the total where the source is a file."""
    if not sys.stderr.isatty() or sys.stdout.isatty():  # a bar among the translations would break their lines
        yield lambda lines: None
        return
    columns = TextColumn("lines"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("lines", total=_lines_left(source))
        yield lambda lines: progress.advance(task, lines)


def _lines_left(source: BinaryIO) -> int | None:
    """Count the lines of a file from its current position; None for a stream that can be read only once."""
    if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        return None
    start = source.tell()
    count = sum(1 for _ in source)
    source.seek(start)
    return count
