"""The machine, commit and package versions that every benchmark's JSON records, and the kind of machine it is.

    python -m benchmarks.environment                              # amd-epyc: the folder of its results
    python -m benchmarks.environment --device cuda --out gpu.json # nvidia-h100-80gb-hbm3, and all that is known of it

Results of different kinds of machine are kept apart: benchmarks/results/<kind>/.
"""

import argparse
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.joeynmt_model import require_joeynmt
from experiments.common import cli, machine
from experiments.common import io as files
from lit_transformer.errors import UserError

PEERS = ("transformers", "x-transformers", "ctranslate2")


def main() -> None:
    """Parse the command line and print the kind of this machine, or of its GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=cli.user_path, help="also write kind, machine, card and versions as JSON")
    args = parser.parse_args()
    gpu = card() if args.device == "cuda" else None
    kind = kind_of(gpu["name"]) if gpu else processor_kind()
    print(kind)
    if args.out is not None:
        files.write_json(args.out, {"kind": kind, "card": gpu, **describe()})


def describe() -> dict[str, Any]:
    """Return machine, threads, commit and versions, including those of installed peers."""
    record = machine.describe()
    for package in PEERS:
        with suppress(PackageNotFoundError):
            record["versions"][package] = version(package)
    with suppress(UserError):
        record["versions"]["joeynmt"] = require_joeynmt()
    return record


def card() -> dict[str, Any]:
    """Return the GPU's name, memory in GB, driver and CUDA version; raises UserError where torch sees none."""
    import torch

    if not torch.cuda.is_available():
        raise UserError("torch sees no GPU here; --device cpu measures the processor")
    properties = torch.cuda.get_device_properties(0)
    memory = round(properties.total_memory / 1e9, 1)
    return {"name": properties.name, "memory_gb": memory, "driver": _driver(), "cuda": torch.version.cuda}


def processor_kind() -> str:
    """Return the kind of this machine by its processor, with "-amx" where it has AMX's matrix unit."""
    return kind_of(machine.processor()) + ("-amx" if "amx_tile" in _flags() else "")


def kind_of(name: str) -> str:
    """Return the name of a processor or GPU as a folder: "Intel(R) Xeon(R) Processor" -> "intel-xeon-processor"."""
    plain = re.sub(r"\((R|TM)\)", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None where nvidia-smi does not tell it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def _flags() -> list[str]:
    """Return the processor's instruction sets as Linux lists them."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return found[1].split() if found else []


if __name__ == "__main__":
    cli.run(main)
