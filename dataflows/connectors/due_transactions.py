"""The source of the synthetic flow: transactions of running test hours, each when its moment has passed.

Owns: which hours run, and how far each has been sent. Does not own what they hold (`rating.synthetic`). The rule: an
hour is sent from its start, whenever this process learned of it; each worker has the subscriptions of its own.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from threading import Event, Lock

import orjson
from bytewax.inputs import DynamicSource, StatelessSourcePartition

from dataflows.catalog_versions import CatalogVersions
from dataflows.connectors.event_sink import Outgoing
from dataflows.errors import RatemillError
from dataflows.moments import datetime_of, now
from rating.hashing import stable_hashes
from rating.synthetic import PERIOD, Pace, Simulation, Transaction, simulations, transactions

_AT_ONCE = 1_000
_BETWEEN_LOOKS = timedelta(milliseconds=100)
_BETWEEN_CHOICES = 5_000_000
# An hour is made ready so long before it begins, twice as long as lies between two looks for such hours.
_AHEAD = 2 * _BETWEEN_CHOICES

_Key = tuple[str, int]


class RunningHours:
    """The hours of the catalog in effect, for all workers of a process."""

    def __init__(
        self, versions: CatalogVersions, failure: Callable[[], RatemillError | None], pace: Pace, catch_up: int
    ) -> None:
        self.catch_up = catch_up
        self._versions = versions
        self._failure = failure
        self._pace = pace
        self._lock = Lock()
        self._digest: str | None = None
        self._known: list[tuple[int, Simulation]] = []

    def look(self, moment: int) -> list[tuple[int, Simulation]]:
        """Each test subscription with a number that deals them to workers; RatemillError if none can be known."""
        if (failure := self._failure()) is not None:
            raise failure
        with self._lock:
            digest = self._versions.at(moment)
            if digest != self._digest:
                catalog = self._versions.history.catalog(digest)
                found = simulations(catalog, self._versions.compiled(digest), self._pace)
                dealt = stable_hashes([each.subscription.id for each in found])[:, 0].tolist()
                self._known = list(zip(dealt, found, strict=True))
                self._digest = digest
            return self._known


@dataclass(frozen=True, slots=True)
class DueTransactions(DynamicSource[Outgoing]):
    """Transactions as messages, in the order of their time, until `stopping` is set, or all that is due was given."""

    hours: RunningHours
    stopping: Event
    until_caught_up: bool = False

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "DuePartition":
        """The share of one worker."""
        return DuePartition(self, worker_index, worker_count)


@dataclass(slots=True, eq=False)
class _Hour:
    """One hour under way: what is left of it, and the moment of the last transaction that was given."""

    simulation: Simulation
    until: int
    left: Iterator[Transaction]


class DuePartition(StatelessSourcePartition[Outgoing]):
    """One worker's hours."""

    def __init__(self, source: DueTransactions, worker: int, workers: int) -> None:
        self._source = source
        self._worker, self._workers = worker, workers
        self._hours: dict[_Key, _Hour] = {}
        # The next transaction of each hour, the earliest first; the number tells those of one moment apart.
        self._next: list[tuple[int, int, _Hour, Transaction]] = []
        self._numbers = count()
        self._chosen_at = 0
        self._awake: datetime | None = None

    def next_batch(self) -> list[Outgoing]:
        """What is due now and was not given before."""
        if self._source.stopping.is_set():
            raise StopIteration
        moment = now()
        if not self._chosen_at <= moment < self._chosen_at + _BETWEEN_CHOICES:
            self._choose(moment)
            self._chosen_at = moment
        batch = self._due(moment)
        if not batch and self._source.until_caught_up:
            raise StopIteration
        self._awake = None if batch else datetime_of(moment) + _BETWEEN_LOOKS
        return batch

    def next_awake(self) -> datetime | None:
        """At once while there is more, else a moment later."""
        return self._awake

    def _choose(self, moment: int) -> None:
        """Begin hours that are new, and go on with the others under what the catalog says of them now."""
        before, self._hours = self._hours, {}
        for number, each in self._source.hours.look(moment):
            if number % self._workers != self._worker or each.start > moment + _AHEAD:
                continue
            key = (each.subscription.id, each.start)
            known = before.get(key)
            if known is None and each.end <= moment - self._source.hours.catch_up:
                continue
            if known is not None and known.simulation == each:
                self._hours[key] = known
                continue
            until = each.start - 1 if known is None else known.until
            self._hours[key] = _Hour(each, until, _after(each, until))
            self._advance(self._hours[key])

    def _advance(self, hour: _Hour) -> None:
        following = next(hour.left, None)
        if following is not None:
            heapq.heappush(self._next, (following.moment, next(self._numbers), hour, following))

    def _due(self, moment: int) -> list[Outgoing]:
        batch: list[Outgoing] = []
        last = 0
        # What has the same moment goes together, for a moment is all that is known of how far an hour was given.
        while self._next and self._next[0][0] <= moment and (len(batch) < _AT_ONCE or self._next[0][0] == last):
            last, _, hour, transaction = heapq.heappop(self._next)
            simulation = hour.simulation
            if self._hours.get((simulation.subscription.id, simulation.start)) is not hour:
                continue
            hour.until = last
            batch.append((simulation.subscription.id, orjson.dumps(transaction.event)))
            self._advance(hour)
        return batch


def _after(simulation: Simulation, moment: int) -> Iterator[Transaction]:
    """The transactions later than a moment, made period by period."""
    for period in range(max(0, (moment - simulation.start) // PERIOD), simulation.periods):
        yield from (one for one in transactions(simulation, period) if one.moment > moment)
