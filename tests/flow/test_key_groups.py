"""Key groups spread evenly: by the hash we compute, and as the engine really deals them."""

import threading
from collections import defaultdict

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main

from dataflows.connectors.announcements import writer_name
from dataflows.key_groups import key_group_names, siphash13, worker_hash


@pytest.mark.parametrize("workers", [1, 2, 4, 8, 16])
def test_the_engine_deals_them_evenly(workers):
    groups_of: dict[int, set[str]] = defaultdict(set)

    def note(state, value):
        return state, threading.get_ident()

    dealt: list[tuple[str, int]] = []
    flow = Dataflow("spread")
    keyed = op.input("names", flow, TestingSource([(name, None) for name in key_group_names(16)]))
    op.output("dealt", op.stateful_map("note", keyed, note), TestingSink(dealt))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    for name, thread in dealt:
        groups_of[thread].add(name)
    assert [len(groups) for groups in groups_of.values()] == [16 // workers] * workers
    for groups in groups_of.values():
        assert len({worker_hash(name) % workers for name in groups}) == 1


@pytest.mark.parametrize("key_groups", [1, 2, 3, 12, 16, 64])
def test_every_divisor_spreads_evenly(key_groups):
    names = key_group_names(key_groups)
    assert len(set(names)) == key_groups
    for workers in (number for number in range(1, key_groups + 1) if key_groups % number == 0):
        load = [0] * workers
        for name in names:
            load[worker_hash(name) % workers] += 1
        assert load == [key_groups // workers] * workers


def test_the_names_never_change():
    """They are keys of recovery states that exist."""
    assert key_group_names(16) == (
        *("g0-5", "g1-5", "g2-2", "g3-28", "g4-26", "g5-0", "g6-13", "g7-2"),
        *("g8-5", "g9-24", "g10-7", "g11-11", "g12-17", "g13-22", "g14-10", "g15-2"),
    )
    assert [writer_name(number) for number in (0, 1, 10)] == ["writer-00", "writer-01", "writer-10"]


def test_siphash_of_every_tail_length_differs():
    assert len({siphash13(bytes(length)) for length in range(64)}) == 64
