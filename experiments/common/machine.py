"""The machine of a run: settings made once at start-up, and the facts that results record about it.

Only `set_up` changes the allocator, matrix products and threads:
* the allocator keeps freed memory (glibc mallopt) instead of returning it after every tensor;
* `matmul` other than "highest" lets float32 products use the processor's instructions for factors of fewer bits; where
  it has none, they are equal up to rounding, or to the bit (`python -m benchmarks.float32` says which);
* threads follow OMP_NUM_THREADS, else the cores that this process may use.
LIT_PLAIN_ALLOCATOR=1 leaves the allocator alone.
"""

import ctypes
import hashlib
import math
import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from experiments.config.stages import TRAINING_CODE
from experiments.config.study import ROOT

PACKAGES = ("torch", "pytorch-lightning", "tokenizers", "sacrebleu", "omegaconf", "wandb", "dvc")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc keep freed memory, so that the tensors of a step reuse it without page faults. A no-op elsewhere."""
    if sys.platform != "linux" or os.environ.get("LIT_PLAIN_ALLOCATOR"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 64 << 20)


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_up(matmul: str = "highest") -> None:
    """Apply the settings above; call once, before the first large tensor."""
    keep_freed_memory()
    import torch

    torch.set_float32_matmul_precision(matmul)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())


def load() -> float:
    """Return the mean number of runnable processes in the last minute (load average); nan where there is none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else math.nan


def peak_memory() -> int:
    """Return this process's peak resident memory in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe() -> dict[str, Any]:
    """Return the machine, threads and package versions, as results keep them."""
    import torch

    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **_versions()},
        "git_commit": git_commit(),
    }


def _versions() -> dict[str, str]:
    """Return the versions of the installed packages: a training needs neither DVC nor W&B."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


@cache
def git_commit() -> str:
    """Return the commit of the code, "-dirty" where training code differs from it, "unknown" outside a repository."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", *TRAINING_CODE],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    except OSError:
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


@cache
def code_hash(names: tuple[str, ...] = TRAINING_CODE) -> str:
    """Return a hash of the training code, or of other files and folders of Python.

    With it a changed component is never mistaken for the trained one.
    """
    digest = hashlib.sha256()
    for name in names:
        top = ROOT / name
        for path in sorted(top.rglob("*.py")) if top.is_dir() else [top]:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
