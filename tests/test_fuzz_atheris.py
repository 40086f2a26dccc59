"""Bytes made up by atheris, guided by coverage, for what reads files: the corpus reader, tokenizers, checkpoints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "atheris", reason="atheris has no wheel for this Python; where it has one: pip install -e '.[fuzz]'"
)
ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize("target", ["corpus_reader", "tokenizer", "checkpoint"])
def test_made_up_bytes(tmp_path: Path, target: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz_targets",
        target,
        str(tmp_path),
        "-runs=1000",
        "-max_len=20000",
        "-timeout=60",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Done 1000 runs" in done.stderr
