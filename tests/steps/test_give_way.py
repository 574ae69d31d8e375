"""A worker gives way while one of its sources is held back, and only then."""

from itertools import count

import pytest

from dataflows.items import EpochEnds, Idle
from dataflows.steps import give_way
from dataflows.steps.give_way import Backpressure, GiveWay, to_workers

EPOCH = 0.5


@pytest.fixture
def source(monkeypatch):
    seconds = count(0.0, 0.3)
    monkeypatch.setattr(give_way.time, "monotonic", lambda: next(seconds))
    source = Backpressure(EPOCH)
    yield source
    source.closed()


def test_an_epoch_ends_when_its_time_is_over(source):
    ends = []
    for _ in range(5):
        source.asked()
        ends.append(source.ends_epoch())
        if ends[-1]:
            source.ended()
    assert ends == [False, True, False, True, False]


def test_an_epoch_whose_beginning_was_asked_for_late_ends_as_the_engine_ends_it(monkeypatch):
    """The engine had looked at its clock 0.05 s before it came to ask: for it, the epoch is older than for us."""
    moments = iter([0.05, 0.5])
    monkeypatch.setattr(give_way.time, "monotonic", lambda: next(moments))
    source = Backpressure(EPOCH)
    source.asked()
    assert source.ends_epoch()


def test_it_sleeps_from_the_end_of_an_epoch_until_it_is_asked_again(source):
    logic = GiveWay()
    source.asked()
    assert logic.on_batch([EpochEnds()]) == ([], GiveWay.DISCARD)
    source.ended()
    assert logic.on_batch([EpochEnds()]) == ([], GiveWay.RETAIN)
    assert logic.on_notify() == ([], GiveWay.RETAIN)
    source.asked()
    assert logic.on_notify() == ([], GiveWay.DISCARD)


def test_it_sleeps_for_longer_the_longer_it_waits(monkeypatch):
    moments, slept = iter([0.0, 0.0, 0.01, 0.1, 100.0]), []
    monkeypatch.setattr(give_way.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(give_way.time, "sleep", slept.append)
    source = Backpressure(EPOCH)
    source.ended()
    logic = GiveWay()
    for _ in range(3):
        assert logic.on_notify() == ([], GiveWay.RETAIN)
    source.closed()
    assert slept == [0.001, pytest.approx(0.005), 0.02]


def test_a_source_that_is_closed_holds_up_nobody(source):
    source.ended()
    source.closed()
    assert GiveWay().on_notify() == ([], GiveWay.DISCARD)


def test_each_worker_is_told_of_ends_and_of_nothing_else():
    assert len({key for key, _ in to_workers(EpochEnds(), 6)}) == 6
    assert to_workers(Idle(0, 0, 0, ""), 6) == []
