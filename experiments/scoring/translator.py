"""Translation of a stream of text, line by line, in windows that are sorted by length among themselves."""

import math
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from data_modules.corpora.text import tidy
from data_modules.prepared import LONGEST
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
    """Called with the token ids of each source that is translated and of its best translation, in order."""
    left_empty: list[int] = field(default_factory=list)
    """The numbers of the lines that could not be translated."""

    def translate(self, lines: Sequence[Line], progress: Callable[[int], object] = lambda lines: None) -> Iterator[str]:
        """Yield the `nbest` output lines of each line, in order.

        They are empty for a line that cannot be translated; stderr gives the reason and `left_empty` keeps its number.
        """
        sources = self.tokenizer.encode_batch([line.text for line in lines])
        places = [index for index, ids in enumerate(sources) if ids and self._fits(lines[index], ids)]
        progress(len(lines) - len(places))
        translations = dict(self._search(places, lines, sources, progress))
        for index, ids in enumerate(sources):
            hypotheses = translations.get(index, [])
            if hypotheses:
                self.on_translation(ids, hypotheses[0].tokens)
            yield from self._output_lines(bool(ids), hypotheses)

    def _fits(self, line: Line, ids: list[int]) -> bool:
        """Return whether a source has no more tokens than the model has positions, nor than LONGEST."""
        positions = self._max_tokens()
        if len(ids) + 1 > positions:
            why = f"and the learned positions of this model end at {positions}"
            self._leave_empty(line, ids, f"{why}: split it, or raise model.positions.max_length and train again")
        elif len(ids) + 1 > LONGEST:
            self._leave_empty(line, ids, f"and no source of more than {LONGEST} is translated: split it")
        return len(ids) + 1 <= min(positions, LONGEST)

    def _leave_empty(self, line: Line, ids: list[int], why: str) -> None:
        self.left_empty.append(line.number)
        print(f"line {line.number} has {len(ids)} tokens, {why}; its translation is empty", file=sys.stderr, flush=True)

    def _search(
        self,
        places: Sequence[int],
        lines: Sequence[Line],
        sources: Sequence[list[int]],
        progress: Callable[[int], object],
    ) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yield places of sources with their hypotheses; where memory ends, those of each half by itself."""
        chosen = [sources[index] for index in places]
        try:
            found = translate_ids(self.networks, chosen, self.config.decode, self.nbest, progress)
        except RuntimeError as error:  # torch has no narrower error for both CPU and GPU
            if "memory" not in str(error):
                raise
        else:
            yield from zip(places, found, strict=True)
            return
        if len(places) == 1:
            why = "more than there is memory for: split it, or lower decode.beam"
            self._leave_empty(lines[places[0]], chosen[0], why)
            return
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            yield from self._search(half, lines, sources, progress)

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
            yield "\t".join((f"{score:.4f}", f"{log_prob:.4f}", text.replace("\t", " "))) if self.scores else text

    def _max_tokens(self) -> float:
        """Return the most tokens of a source, EOS included, for which every encoder has positions."""
        limits = [network.src_embedding.positions.max_length for network in self.networks]
        return min([limit for limit in limits if limit is not None], default=math.inf)


def translate_stream(translator: Translator, source: BinaryIO, target: BinaryIO) -> None:
    """Translate every line of one stream into another, window by window; from a terminal, line by line.

    Raises UserError at the end where the translations of some lines had to be left empty.
    """
    window = 1 if source.isatty() else WINDOW
    with _progress_bar(source) as progress:
        for lines in windows(source, window):
            try:
                for text in translator.translate(lines, progress):
                    target.write(text.encode() + b"\n")
            finally:
                target.flush()
    if numbers := translator.left_empty:
        which = f"line {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} lines, the first of them {numbers[0]},"
        raise UserError(f"the translation of {which} is empty, for the reason above; all others are written")


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
