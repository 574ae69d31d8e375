"""What the notification flow serves to those who watch it, and when it is ready.

The rule: what is pending, delivered and failed is read from the store, so it is the same after a crash; an endpoint
that is down is a metric of its own, and no reason for the flow not to be ready.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dataflows.errors import RatemillError
from dataflows.metrics_deliveries_table import (
    CIRCUIT_OPEN,
    DELIVERIES,
    DELIVERY_ATTEMPTS,
    MALFORMED_NOTIFICATIONS,
    NOTIFICATIONS_READ,
    OLDEST_PENDING,
)
from dataflows.metrics_server import listening
from dataflows.metrics_table import READY
from dataflows.notifications.flow import DeliveryProgress
from dataflows.notifications.looks import ages, malformed_records, tallies
from dataflows.settings import Settings

_OUTCOMES = ("delivered", "failed")


@contextmanager
def serving_notifications(settings: Settings, folder: Path, progress: DeliveryProgress) -> Iterator[None]:
    """Serve metrics and health of the notification flow during the block; RatemillError if the port cannot be had."""
    if not settings.metrics_port:
        yield
        return
    facts = DeliveryFacts(folder, progress)
    with listening(settings, (facts,), facts.why_not_ready):
        yield


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryFacts(Collector):
    """What the store holds, and what this run has done."""

    folder: Path
    progress: DeliveryProgress

    def why_not_ready(self) -> str:
        """Empty if the flow is ready, else the reason in a line."""
        return self.progress.trouble() or ""

    def collect(self) -> Iterator[Family]:
        """The metrics of the flow; those of the store are absent if it cannot be read."""
        yield READY.one(not self.why_not_ready())
        yield NOTIFICATIONS_READ.one(self.progress.notifications)
        yield DELIVERY_ATTEMPTS.family(
            ((lane.shown, outcome), lane.attempts[outcome]) for lane in self.progress.lanes for outcome in _OUTCOMES
        )
        yield CIRCUIT_OPEN.family(((endpoint,), rests) for endpoint, rests in self.progress.circuits.items())
        yield from self._of_store()

    def _of_store(self) -> list[Family]:
        try:
            return [
                DELIVERIES.family(((each.channel, each.state), each.deliveries) for each in tallies(self.folder)),
                OLDEST_PENDING.family(((channel,), age) for channel, age in ages(self.folder).items()),
                MALFORMED_NOTIFICATIONS.one(malformed_records(self.folder)),
            ]
        except RatemillError:
            return []
