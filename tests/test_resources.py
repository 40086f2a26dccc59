"""How cores and GPUs are divided among cells, without a device."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.launching.resources import Node, Share, share_of
from lit_transformer.errors import UserError


@pytest.mark.parametrize(
    ("nodes", "runs", "slots", "devices", "share", "counts"),
    [
        ([Node(2)], 0, None, 1, Share(1, 1.0), [2]),
        ([Node(2)], 0, 1, 1, Share(2, 2.0), [1]),
        ([Node(8)], 0, 3, 1, Share(2, 2.0), [4]),
        ([Node(2)], 0, 4, 1, Share(1, 0.5), [4]),
        ([Node(64), Node(64)], 0, 16, 1, Share(8, 8.0), [8, 8]),
        ([Node(64), Node(4)], 0, 1, 1, Share(64, 64.0), [1, 0]),
        ([Node(16, 1)], 1, None, 1, Share(16, 16.0, 1.0), [1]),
        ([Node(16, 8)], 1, None, 1, Share(2, 2.0, 1.0), [8]),
        ([Node(16, 1)], 3, None, 1, Share(5, 5.0, 0.3333), [3]),
        ([Node(2, 2)], 4, None, 1, Share(1, 0.25, 0.25), [8]),
        ([Node(128, 8), Node(16, 2), Node(64)], 2, None, 1, Share(4, 4.0, 0.5), [16, 4, 0]),
        ([Node(8)], 0, None, 2, Share(1, 2.0), [4]),
        ([Node(8)], 0, 2, 2, Share(2, 4.0), [2]),
        ([Node(2)], 0, None, 4, Share(1, 2.0), [1]),
        ([Node(64, 8), Node(64, 2), Node(64)], 1, None, 4, Share(8, 32.0, 4.0), [2, 0, 0]),
        ([Node(64, 8)], 1, None, 8, Share(8, 64.0, 8.0), [1]),
    ],
)
def test_shares(nodes: list[Node], runs: int, slots: int | None, devices: int, share: Share, counts: list[int]) -> None:
    found = share_of(nodes, runs, slots, devices)
    assert found == share
    assert [found.slots(node) for node in nodes] == counts


nodes = st.lists(st.builds(Node, st.integers(1, 256), st.integers(0, 8)), min_size=1, max_size=4)


@given(nodes, st.integers(1, 16))
def test_every_gpu_takes_its_runs_and_no_core_is_promised_twice(nodes: list[Node], runs: int) -> None:
    if not any(node.gpus for node in nodes):
        with pytest.raises(UserError, match="no node of this cluster has a GPU"):
            share_of(nodes, runs)
        return
    share = share_of(nodes, runs)
    for node in nodes:
        assert share.slots(node) == runs * node.gpus
        assert share.threads * share.slots(node) <= max(node.cores, share.slots(node))
        assert share.cpus * share.slots(node) <= node.cores + 1e-6
        assert share.gpus * share.slots(node) <= node.gpus + 1e-6


@given(nodes, st.integers(1, 300))
def test_cores_are_divided_among_the_slots(nodes: list[Node], slots: int) -> None:
    share = share_of(nodes, slots=slots)
    assert sum(share.slots(node) for node in nodes) >= 1
    for node in nodes:
        assert share.threads * share.slots(node) <= max(
            node.cores, math.ceil(1.05 * slots)
        )  # parts are rounded down to Ray's grain
        assert share.cpus * share.slots(node) <= node.cores + 1e-6


def test_a_cluster_without_cores_is_refused() -> None:
    with pytest.raises(UserError, match="offers a core"):
        share_of([Node(0), Node(0, 1)])


def test_cells_of_several_devices_are_refused_where_they_do_not_fit() -> None:
    with pytest.raises(UserError, match=r"trainer\.devices is 4, and no node"):
        share_of([Node(64, 2), Node(64)], 1, devices=4)
    with pytest.raises(UserError, match=r"--runs-per-gpu: a cell of trainer\.devices 2"):
        share_of([Node(64, 2)], 2, devices=2)
