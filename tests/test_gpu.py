"""The GPU's benchmark: parts bounded in time, each lost alone, all written at once; and the whole of it on a CPU."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, processes, random_decoding, training
from benchmarks.gpu import Part, all_parts, read_tests, run, tiny_parts
from benchmarks.gpu_table import markdown
from experiments.common import cli
from experiments.config.study import ROOT
from lit_transformer.errors import UserError
from tests.gpu_record import RECORD

WRITES = "import json, sys; json.dump({'value': 1}, open(sys.argv[-1], 'w'))"


def part(name: str, code: str, share: float = 1.0) -> Part:
    return Part(name, share, ["-S", "-c", code])


def run_for(seconds: float, parts: list[Part], folder: Path) -> dict[str, Any]:
    """Run the parts and return their results, as written after the last one."""
    results: dict[str, Any] = {}
    written: list[str] = []
    run(parts, results, time.monotonic() + seconds, folder, lambda: written.append(json.dumps(results)))
    assert len(written) == len(parts)
    return json.loads(written[-1])


def test_a_part_that_fails_loses_its_own_result_alone(tmp_path: Path) -> None:
    crashes = part("crashes", "print('begun'); raise MemoryError('CUDA out of memory')")
    refuses = part("refuses", f"{WRITES}; sys.exit('error: no such size')")
    results = run_for(60, [part("before", WRITES), crashes, refuses, part("after", WRITES)], tmp_path)
    assert [result["status"] for result in results.values()] == ["done", "failed", "failed", "done"]
    assert results["before"]["result"] == results["after"]["result"] == {"value": 1}
    assert "error" not in results["before"]
    assert results["crashes"]["error"] == "MemoryError: CUDA out of memory"
    assert "result" not in results["crashes"]
    assert results["refuses"]["error"] == "no such size"
    assert results["refuses"]["result"] == {"value": 1}  # what it had written


def test_a_part_that_hangs_is_stopped_with_its_children_after_its_share(tmp_path: Path) -> None:
    child = tmp_path / "child"
    hangs = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
open({str(child)!r}, "w").write(str(child.pid)); time.sleep(600)"""
    results = run_for(80, [part("hangs", hangs, share=1.0), part("after", WRITES, share=9.0)], tmp_path)
    assert results["hangs"]["status"] == "timed out"
    assert results["hangs"]["error"] == "stopped after 8 s"
    assert results["after"]["result"] == {"value": 1}
    status = Path(f"/proc/{child.read_text()}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_what_is_not_used_goes_to_later_parts_and_no_part_begins_without_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {}
    clock = 1000.0

    def run_part(part: Part, out: Path, limit: float, folder: Path) -> tuple[str, str]:
        nonlocal clock
        limits[part.name] = limit
        clock += {"quick": 5.0, "full": limit, "over": limit + 30.0}[part.name]
        return "done", ""

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock)
    results: dict[str, Any] = {}
    run(
        [part("quick", "", 10), part("full", "", 20), part("over", "", 10), part("late", "", 10)],
        results,
        1100.0,
        tmp_path,
        lambda: None,
    )
    assert limits == pytest.approx({"quick": 20.0, "full": 95.0 / 2, "over": 95.0 / 4})
    assert results["late"] == {"status": "no time", "seconds": 0.0}


def test_a_signal_leaves_what_was_measured(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    code = f"""
import json, time
from pathlib import Path
from benchmarks.gpu import Part, run
from experiments.launching.signals import interrupt_on_signals
interrupt_on_signals()
results = {{}}
parts = [Part("quick", 1, ["-S", "-c", {WRITES!r}]), Part("long", 1, ["-S", "-c", "import time; time.sleep(600)"])]
write = lambda: Path({str(out)!r}).write_text(json.dumps(results))
run(parts, results, time.monotonic() + 600, Path({str(tmp_path)!r}), write)"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    while not out.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) != 0
    results = json.loads(out.read_text())
    assert results["quick"]["result"] == {"value": 1}
    assert results["long"]["status"] == "interrupted"


def test_the_tests_of_pytest_are_counted_and_failures_named(tmp_path: Path) -> None:
    tests = tmp_path / "test_some.py"
    tests.write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2, 'no step may wait'\n"
        "@pytest.mark.skip\ndef test_no(): pass\n"
    )
    out = tmp_path / "out.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tests), "--junitxml", str(out)]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 1
    found = read_tests(out)
    assert (found["passed"], found["skipped"]) == (1, 1)
    (name,) = found["failed"]
    assert name.endswith("test_some.test_bad")
    assert "no step may wait" in found["failed"][name]


PARSERS = {
    "benchmarks.training": training.parser,
    "benchmarks.processes": processes.parser,
    "benchmarks.random_decoding": random_decoding.parser,
}


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_command_is_understood(device: str) -> None:
    parts = [*all_parts(device), *tiny_parts(device)]
    sizes = set()
    for name, _, (_, module, *arguments), option, _ in parts:
        if module == "pytest":
            files = [Path(path).name for path in arguments if path.endswith(".py")]
            assert files == ["test_cuda.py", "test_fusion.py", "test_search.py"]
            continue
        args: argparse.Namespace = PARSERS[module]().parse_args([*arguments, option, "out.json"])
        assert args.device == device
        assert args.out == cli.STARTED_IN / "out.json"
        if module == "benchmarks.training":
            sizes.add((args.size, args.compile))
            assert args.size in name
    assert sizes >= {(size, compiled) for size in ("small", "base", "big") for compiled in (False, True)}
    assert len({part.name for part in all_parts(device)}) == len(all_parts(device))


def test_the_table_says_what_was_measured_and_what_was_not() -> None:
    lines = [line.strip("| ").split(" | ") for line in markdown(RECORD).splitlines()]
    assert ["NVIDIA H100 (85 GB), driver 580.1, CUDA 13.0, torch 2.11.0, bfloat16, commit abc:"] in lines
    assert ["CUDA tests: 9 passed, 0 skipped, 0 failed."] in lines
    assert ["training, base", "25,000", "1,000,000", "45%", "2.00", "–", "3.00", "20.0"] in lines
    assert ["training, base, compiled", "25,000", "2,000,000", "90%", "4.00", "3.00", "–", "10.0"] in lines
    assert ["1 at once", "100", "1.00", "1.50"] in lines
    assert ["2 at once", "150", "1.50", "1.25"] in lines
    assert ["decoding, base, beam 4", "1,000", "10,000", "4.00"] in lines
    assert ["* processes: timed out (stopped after 9 s)"] in lines
    assert ["* training, big: no time"] in lines


# What a GPU machine without a registry lacks, but for omegaconf and rich, which are brought.
ABSENT = ("datasets", "wandb", "dvc", "altair", "vl_convert", "sacremoses", "x_transformers", "ctranslate2", "ray")


@pytest.mark.slow  # four benchmarks, each in processes of its own
def test_the_whole_command_runs_on_a_cpu_with_few_packages(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    for name in ABSENT:
        (absent / f"{name}.py").write_text(f"raise ModuleNotFoundError('not installed', name={name!r})\n")
    out = tmp_path / "gpu.json"
    settings = ["--device", "cpu", "--tiny", "--minutes", "60", "--commit", "abc", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(absent), str(ROOT)])}
    command = [sys.executable, "-m", "benchmarks.gpu", *settings]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(out.read_text())
    assert (record["card"], record["git_commit"], record["precision"]) == (None, "abc", "bfloat16")
    assert {part["status"] for part in record["parts"].values()} == {"done"}
    results = {name: part["result"] for name, part in record["parts"].items()}
    assert results["CUDA tests"]["failed"] == {}
    assert results["training, tiny"]["systems"]["lit_transformer"]["target_tokens_per_second"]["median"] > 0
    assert list(results["processes"]["processes"]) == ["1", "2"]
    assert all(cells["cells_per_hour"] > 0 for cells in results["processes"]["processes"].values())
    assert "CTranslate2 float32" in results["decoding, tiny"]["left_out"]
    assert "| training, tiny | 64 |" in done.stdout


def test_without_a_gpu_the_command_ends_in_one_line(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: torch sees no GPU here; --device cpu measures the processor\n"
    assert not (tmp_path / "gpu.json").exists()


def test_a_failed_training_of_cells_is_one_line(tmp_path: Path) -> None:
    project = processes.copy_project(tmp_path)
    assert (project / "experiments/studies/components/study.yaml").is_file()
    command = ["train", "--study", "components", "--variant", "no_such_variant", "--seed", "0"]
    with pytest.raises(UserError, match=r"^python -m experiments train failed: error: [^\n]*no_such_variant"):
        processes.run_all(project, [command], {**os.environ, "PYTHONPATH": str(project)})
