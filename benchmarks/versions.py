"""The machine and the versions of what is timed on it, as the committed results keep them."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.joeynmt_model import require_joeynmt
from experiments.common import machine
from lit_transformer.errors import UserError

PEERS = ("transformers", "x-transformers", "ctranslate2")


def described() -> dict[str, Any]:
    """Return machine, threads, commit and versions, the peers' included where they are installed."""
    found = machine.describe()
    for package in PEERS:
        with suppress(PackageNotFoundError):
            found["versions"][package] = version(package)
    with suppress(UserError):
        found["versions"]["joeynmt"] = require_joeynmt()
    return found
