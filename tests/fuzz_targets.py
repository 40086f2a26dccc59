"""What atheris calls with bytes that it makes up, guided by the branches that they take; see test_fuzz_atheris.

    python -m tests.fuzz_targets TARGET FOLDER [option of libFuzzer ...]

FOLDER is for seeds and working files; it must exist. Ends with status 0 after -runs=N inputs without a failure.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["data_modules", "experiments.training.checkpoints"]):
    from data_modules.corpora.files import read_lines
    from data_modules.corpora.text import align
    from data_modules.tokenizer import Tokenizer, train_tokenizer
    from experiments.training.checkpoints import LAST, REFUSED, newest, save_with_checksum
    from lit_transformer.errors import UserError

SENTENCES = ["the old dog sees a dog", "שלום שלום", "der alte Hund sieht einen Hund"] * 2


def corpus_reader(folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    """Lines of any bytes: as many as there are, each as it stands but for spaces, or one line that says where."""
    path = folder / "test.en"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            lines = read_lines(path)
            text = align("train", lines, lines, (str(path), str(path)), [])
        except UserError:  # whose message is one line, whatever it quotes
            return
        content = data.removeprefix(b"\xef\xbb\xbf").decode()
        assert "\n".join(lines) == content.removesuffix("\n")
        assert [line.split() for line in text.source] == [line.split() for line in lines]
        assert all(len(line.splitlines()) <= 1 for line in text.source)

    return read, ["\n".join(SENTENCES).encode(), b"\xef\xbb\xbfa\r\nb\r\n", "a\u2028b\n\n\x00".encode(), b"\xc3", b""]


def tokenizer(folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    """Any tokenizer.json: one that encodes and decodes as ours does, or one line; and any text through a good one."""
    path, ours = folder / "tokenizer.json", train_tokenizer(SENTENCES, 270)

    def load(data: bytes) -> None:
        text = data.decode(errors="replace")
        assert ours.decode(ours.encode(text)) == text
        path.write_bytes(data)
        try:
            other = Tokenizer.load(path)
        except UserError:  # whose message is one line, whatever it quotes
            return
        assert other.decode(other.encode("a dog <pad>")) == "a dog <pad>"
        assert other.pieces(other.encode("a dog"))

    ours.save(path)
    return load, [path.read_bytes(), "a dog <pad> שלום".encode()]


def checkpoint(folder: Path) -> tuple[Callable[[bytes], None], list[bytes]]:
    """Any last.ckpt: resumed from where it is what was written, else put aside."""
    path = folder / LAST
    save_with_checksum({"run_hash": "ours", "global_step": 3, "state_dict": {}}, path)
    whole = path.read_bytes()

    def resume(data: bytes) -> None:
        path.write_bytes(data)
        found = newest(folder, "ours")
        assert (found is not None) == (data == whole)
        assert found or (folder / REFUSED).read_bytes() == data

    return resume, [whole, whole[:-1], b"PK\5\6"]


TARGETS = {target.__name__: target for target in (corpus_reader, tokenizer, checkpoint)}

if __name__ == "__main__":
    name, own, *options = sys.argv[1:]
    working, seeds = Path(own, "working"), Path(own, "seeds")
    working.mkdir()
    seeds.mkdir()
    check, inputs = TARGETS[name](working)
    for number, content in enumerate(inputs):
        (seeds / str(number)).write_bytes(content)
    atheris.Setup([name, *options, str(seeds)], check)
    atheris.Fuzz()
