"""The options of `launch`, and which stages are stale, as tests say that run no command line and no DVC."""

import argparse
from collections.abc import Callable

import pytest

from experiments.launching.stages import Stages


def launch_options(**changed: object) -> argparse.Namespace:
    """Return one slot and no retries, all else as by default, but for what is changed."""
    options = {
        "slots": 1,
        "runs_per_gpu": None,
        "address": None,
        "engine": "auto",
        "retries": 0,
        "fuse": None,
        "dry_run": False,
    }
    return argparse.Namespace(**{**options, **changed})


def set_stale(monkeypatch: pytest.MonkeyPatch, stale: Callable[[Stages], set[str]]) -> None:
    """Let a function say which stages are stale, in place of DVC, whose cache has nothing to give back."""
    for name in ("stale", "stale_after_checkout"):
        monkeypatch.setattr(Stages, name, stale)
