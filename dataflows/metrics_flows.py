"""What each flow serves to those who watch it, and when it is ready.

Owns: which metrics are served where, and what ready means. Does not own: the port (`metrics_server`), the numbers of
processes (`metrics`), or facts (`metrics_facts`). The rule: a flow has one port, however many processes it has and
however often they are started; port 0 serves nothing.
"""

import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from dataflows.errors import RatemillError
from dataflows.ledger import manifest
from dataflows.ledger.folder import LedgerFolder, plain_os_errors
from dataflows.metrics import folder_for
from dataflows.metrics_facts import KafkaFacts, LedgerFacts
from dataflows.metrics_server import listening
from dataflows.metrics_table import (
    READY,
    RELAY_BEHIND,
    RELAY_MESSAGES,
    RELAY_POSITION,
    RESTARTS,
    RUNNING,
)
from dataflows.relay import ROUTES, RelayProgress
from dataflows.settings import Settings
from dataflows.supervisor import Condition, Ending

_ATTEMPTS = 3
_SECONDS_BETWEEN_ATTEMPTS = 0.01


@contextmanager
def serving_rating(settings: Settings, folder: LedgerFolder, condition: Condition) -> Iterator[None]:
    """Serve metrics and health of the rating flow during the block; RatemillError if the port cannot be had.

    The processes that are started in the block keep their numbers where this can read them.
    """
    if not settings.metrics_port:
        yield
        return
    ledger = LedgerFacts(folder)
    health = RatingHealth(condition, ledger.age, settings.stall_seconds)
    with (
        folder_for(settings.processes) as numbers,
        KafkaFacts(settings, ledger.next_offsets) as kafka,
        listening(settings, (health, ProcessNumbers(numbers), ledger, kafka), health.why_not_ready),
    ):
        yield


@contextmanager
def serving_relay(settings: Settings, folder: LedgerFolder, progress: RelayProgress) -> Iterator[None]:
    """Serve metrics and health of the relay during the block; RatemillError if the port cannot be had."""
    if not settings.metrics_port:
        yield
        return
    relay = RelayFacts(folder, progress)
    with listening(settings, (relay,), relay.why_not_ready):
        yield


@dataclass(frozen=True, slots=True, eq=False)
class RatingHealth(Collector):
    """Whether the rating flow is ready: its processes run, and all writers have published within `patience` seconds.

    `age` gives the seconds since the last publication.
    """

    condition: Condition
    age: Callable[[], float | None]
    patience: float

    def why_not_ready(self) -> str:
        """Empty if the flow is ready, else the reason in a line."""
        if not self.condition.running:
            why = self.condition.last_failure
            return f"the processes are not running: {why}" if why else "the processes are starting"
        age = self.age()
        if age is None:
            return "nothing has been published yet, or the ledger cannot be read"
        return f"nothing was published for {age:.0f} s" if age > self.patience else ""

    def collect(self) -> Iterator[Family]:
        """The metrics of the supervisor."""
        restarts = self.condition.restarts.copy()
        yield READY.one(not self.why_not_ready())
        yield RUNNING.one(self.condition.running)
        yield RESTARTS.family(
            ((ending.value,), restarts[ending.value]) for ending in Ending if ending is not Ending.STOPPED
        )


class ProcessNumbers(Collector):
    """The numbers of all processes of a flow, added up."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, str(folder))

    def collect(self) -> Iterable[Family]:
        """The metrics that processes count."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._files.collect()
            except struct.error:
                # A file that a process has just made is empty for a moment.
                time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
        return self._files.collect()


@dataclass(frozen=True, slots=True, eq=False)
class RelayFacts(Collector):
    """How far a relay is, and whether it is ready: it knows where it is, and Kafka takes what it sends."""

    folder: LedgerFolder
    progress: RelayProgress

    def why_not_ready(self) -> str:
        """Empty if the relay is ready, else the reason in a line."""
        if not self.progress.positions:
            return "the relay is starting"
        return self.progress.last_error or ""

    def collect(self) -> Iterator[Family]:
        """The metrics of the relay; how far it is behind is absent if the ledger cannot be read."""
        positions, messages = list(self.progress.positions), self.progress.messages.copy()
        yield READY.one(not self.why_not_ready())
        yield RELAY_POSITION.family(((writer,), position) for writer, position in enumerate(positions))
        published = self._published()
        places = enumerate(zip(published, positions, strict=False))
        yield RELAY_BEHIND.family(((writer,), behind - place) for writer, (behind, place) in places)
        yield RELAY_MESSAGES.family(((route.topic,), messages[route.topic]) for route in ROUTES)

    def _published(self) -> list[int]:
        """Published commits of each writer; the relay itself does not look while it waits for Kafka."""
        try:
            with plain_os_errors("cannot read the ledger"):
                return [
                    manifest.load(self.folder.manifest(writer)).next_sequence for writer in self.folder.all_writers()
                ]
        except RatemillError:
            return []
