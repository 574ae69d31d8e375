"""Which simulated transactions are due: all of an hour, once, in order, whatever the catalog does meanwhile."""

import json
from collections import Counter
from dataclasses import replace
from threading import Event

import pytest

from dataflows.connectors import due_transactions
from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.due_transactions import DueTransactions
from rating.catalog import compile_catalog
from rating.synthetic import HOUR, PERIOD, PERIODS, Pace, simulations, transactions
from tests.ops.ratemill import ROOT


class Hours:
    """What the catalog says, as a test changes it."""

    catch_up = 0

    def __init__(self, made):
        self.made = made

    def look(self, moment):
        return list(enumerate(self.made))


class Clock:
    """A wall clock that a test moves."""

    moment = 0

    def __call__(self):
        return self.moment


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(due_transactions, "now", clock)
    return clock


@pytest.fixture
def made():
    catalog = load_catalog(ROOT / "ops/catalogs/demo")
    return simulations(catalog, compile_catalog(catalog), Pace(rate=10), ("5min", "5min_synthetic"))


def ids(batch):
    return [json.loads(value)["id"] for _, value in batch]


def taken(partition, clock, begin, end, step):
    """All that is due while the clock goes from one moment to another."""
    found = []
    for moment in [*range(begin, end, step), end]:
        clock.moment = moment
        while batch := partition.next_batch():
            found += ids(batch)
    return found


def whole(simulation):
    return [one.event["id"] for period in range(PERIODS) for one in transactions(simulation, period)]


def test_each_transaction_is_due_once_and_not_before_its_moment(clock, made):
    hours, begin = Hours(made), made[0].start
    partition = DueTransactions(hours, Event()).build("due", 0, 1)
    before = taken(partition, clock, begin - HOUR, begin - 1, HOUR // 4)
    assert before == []
    half = taken(partition, clock, begin, begin + HOUR // 2 - 1, 7_000_000)
    assert len(half) == sum(len(transactions(each, period)) for each in made for period in range(PERIODS // 2))
    rest = taken(partition, clock, begin + HOUR // 2, begin + 2 * HOUR, PERIOD)
    assert Counter(half + rest) == Counter(name for each in made for name in whole(each))


def test_workers_share_the_subscriptions(clock, made):
    source = DueTransactions(Hours(made), Event(), until_caught_up=True)
    found = []
    for worker in range(2):
        partition = source.build("due", worker, 2)
        clock.moment = made[0].start + HOUR - 1
        own = []
        with pytest.raises(StopIteration):
            while True:
                own += ids(partition.next_batch())
        assert own == whole(made[worker])
        found += own
    assert len(set(found)) == len(found)


def test_a_catalog_that_changes_takes_effect_from_where_the_hour_is(clock, made):
    hours, begin = Hours(made[:1]), made[0].start
    partition = DueTransactions(hours, Event()).build("due", 0, 1)
    first = taken(partition, clock, begin, begin + HOUR // 4, PERIOD // 10)
    # The subscription ends early, and another one is discovered in the middle of its hour.
    hours.made = [replace(made[0], end=begin + HOUR // 2), made[1]]
    rest = taken(partition, clock, begin + HOUR // 4, begin + HOUR, PERIOD // 10)
    wanted = [one.event["id"] for period in range(PERIODS // 2) for one in transactions(made[0], period)]
    assert sorted(first + rest) == sorted(wanted + whole(made[1]))


def test_an_hour_that_ended_before_is_left_alone_unless_asked_for(clock, made):
    hours = Hours(made[:1])
    source = DueTransactions(hours, Event(), until_caught_up=True)
    clock.moment = made[0].end + PERIOD
    with pytest.raises(StopIteration):
        source.build("due", 0, 1).next_batch()
    hours.catch_up = 2 * PERIOD
    partition = source.build("due", 0, 1)
    assert ids(partition.next_batch()) == whole(made[0])


def test_it_ends_when_told(clock, made):
    stopping = Event()
    partition = DueTransactions(Hours(made), stopping).build("due", 0, 1)
    stopping.set()
    with pytest.raises(StopIteration):
        partition.next_batch()
