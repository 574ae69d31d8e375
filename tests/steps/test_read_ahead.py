"""What is read while the flow is busy: in order, joined, bounded, and a failure after all that came before it."""

import time

import numpy as np
import polars as pl
import pytest

from dataflows.connectors.kafka_reader import Poll
from dataflows.connectors.read_ahead import ReadAhead, joined
from dataflows.errors import RatemillError
from dataflows.settings import Settings
from rating.batch import DecodedBatch
from tests.kafka.catalogs import until

EMPTY = Poll([], 0, [])


def batch(partition, first, behind, digest="one"):
    offsets = np.arange(first, behind)
    events = pl.DataFrame({"offset": offsets, "source": [f"{partition}-{offset}" for offset in offsets]})
    elements = {"bytes": pl.Series([str(offset) for offset in offsets])}
    return digest, DecodedBatch(partition, behind, events, elements, offsets * 10)


def poll(*batches, idle=()):
    return Poll(list(batches), 100 * len(batches), list(idle))


def told(found):
    return [(digest, one.partition, one.events["offset"].to_list(), one.next_offset) for digest, one in found.batches]


def test_batches_of_a_partition_and_catalog_become_one():
    polls = [poll(batch(0, 0, 2), batch(1, 5, 6)), poll(batch(1, 6, 9), batch(0, 2, 3)), poll(batch(0, 3, 4, "two"))]
    (found,) = joined(polls)
    assert found.size == 500
    assert found.records == 8
    assert told(found) == [("one", 0, [0, 1, 2], 3), ("two", 0, [3], 4), ("one", 1, [5, 6, 7, 8], 9)]
    (_, first), *_ = found.batches
    assert first.events["source"].to_list() == ["0-0", "0-1", "0-2"]
    assert first.elements["bytes"].to_list() == ["0", "1", "2"]
    assert first.record_times.tolist() == [0, 10, 20]


def test_what_a_look_tells_comes_before_later_records():
    idle = [(1, 6, 77)]
    found = joined([poll(batch(0, 0, 2)), poll(idle=idle), poll(batch(1, 6, 7)), poll(batch(1, 7, 9))])
    assert [told(one) for one in found] == [[("one", 0, [0, 1], 2)], [("one", 1, [6, 7, 8], 9)]]
    assert [one.idle for one in found] == [idle, []]


def test_a_batch_is_kept_ready_and_no_more():
    offsets = iter(range(0, 1_000, 4))

    def read():
        first = next(offsets)
        return poll(batch(0, first, first + 4))

    ahead = ReadAhead(read, Settings(batch_records=10))
    try:
        expected = 0
        for _ in range(3):
            until(lambda: sum(one.records for one in ahead._polls) >= 10)
            time.sleep(0.05)
            (found,) = ahead.take()
            assert told(found) == [("one", 0, list(range(expected, expected + 12)), expected + 12)]
            expected += 12
    finally:
        ahead.close()


def test_bytes_bound_it_too():
    settings = Settings(batch_bytes=1 << 17)
    ahead = ReadAhead(lambda: Poll([batch(0, 0, 1)], 1 << 16, []), settings)
    try:
        until(lambda: len(ahead._polls) == 2)
        time.sleep(0.05)
        assert len(ahead._polls) == 2
    finally:
        ahead.close()


def test_a_failure_comes_after_all_before_it_and_stays():
    polls = [poll(batch(0, 0, 2)), EMPTY]

    def read():
        if not polls:
            raise RatemillError("the topic is gone")
        return polls.pop(0)

    ahead = ReadAhead(read, Settings())
    until(lambda: not ahead._thread.is_alive())
    assert ahead.silent
    assert ahead.wait(0)
    assert told(ahead.take()[0]) == [("one", 0, [0, 1], 2)]
    for _ in range(2):
        assert ahead.wait(0)
        with pytest.raises(RatemillError, match="the topic is gone"):
            ahead.take()
    ahead.close()


def test_silence_is_nothing_to_take():
    ahead = ReadAhead(lambda: time.sleep(0.01) or EMPTY, Settings())
    assert not ahead.wait(0.1)
    assert ahead.silent
    assert ahead.take() == []
    ahead.close()
    assert not ahead._thread.is_alive()
