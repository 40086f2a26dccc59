"""A small prepared corpus for tests: words of a few letters, translated into capitals."""

import random
from pathlib import Path

from data_modules.config import DataConfig
from data_modules.corpora.text import ParallelText, RawCorpus
from data_modules.prepared import PreparedCorpus, prepare

CONFIG = DataConfig(source="de", target="en", vocab_size=266, batch_tokens=400)


def letters(folder: Path) -> PreparedCorpus:
    """Prepare 150 training pairs, which are 6 batches of CONFIG, 40 for validation, and test splits of 50 and 2."""
    dice = random.Random(4)

    def text(count: int) -> ParallelText:
        lines = [" ".join(dice.choice(["ab", "cde", "f"]) for _ in range(dice.randrange(1, 12))) for _ in range(count)]
        return ParallelText(lines, [line.upper() for line in lines])

    splits = {"train": text(150), "valid": text(40), "test": text(50), "tiny": text(2)}
    return prepare(RawCorpus("letters", "de", "en", splits), CONFIG, folder)
