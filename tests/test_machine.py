"""What is set up once at start-up, the switch back, and what a record says of the machine."""

import ctypes
from typing import Any

import pytest
import torch

from experiments.common import machine


class Libc:
    """Notes what the allocator is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.told.append((name, value))
        return 1


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    found = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: found)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.delenv("LIT_PLAIN_ALLOCATOR", raising=False)
    return found


@pytest.fixture
def settings() -> Any:
    """Put back what torch was set to."""
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)


def test_the_allocator_keeps_what_is_freed_unless_told_not_to(libc: Libc, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.keep_freed_memory()
    assert dict(libc.told)[machine.M_MMAP_MAX] == 0
    libc.told.clear()
    monkeypatch.setenv("LIT_PLAIN_ALLOCATOR", "1")
    machine.keep_freed_memory()
    monkeypatch.delenv("LIT_PLAIN_ALLOCATOR")
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    machine.keep_freed_memory()
    assert libc.told == []


@pytest.mark.usefixtures("libc", "settings")
@pytest.mark.parametrize("matmul", ["highest", "medium"])
def test_set_up(matmul: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    machine.set_up(matmul)
    assert torch.get_float32_matmul_precision() == matmul
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(1)
    machine.set_up(matmul)
    assert torch.get_num_threads() == 1, "torch has read OMP_NUM_THREADS itself"


def test_a_package_that_is_not_there_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training needs neither DVC nor W&B, and its record is written when it is over."""
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-package-of-this-name"))
    versions = machine.describe()["versions"]
    assert set(versions) == {"python", "torch"}
