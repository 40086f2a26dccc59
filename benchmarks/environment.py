"""The machine, commit and package versions that every benchmark's JSON records."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.joeynmt_model import require_joeynmt
from experiments.common import machine
from lit_transformer.errors import UserError

PEERS = ("transformers", "x-transformers", "ctranslate2")


def describe() -> dict[str, Any]:
    """Return machine, threads, commit and versions, including those of installed peers."""
    record = machine.describe()
    for package in PEERS:
        with suppress(PackageNotFoundError):
            record["versions"][package] = version(package)
    with suppress(UserError):
        record["versions"]["joeynmt"] = require_joeynmt()
    return record
