"""What the synthetic flow serves to those who watch it, and when it is ready."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dataflows.connectors.event_sink import SendingProgress
from dataflows.metrics_server import listening
from dataflows.metrics_table import READY, SYNTHETIC_TRANSACTIONS
from dataflows.settings import Settings


@contextmanager
def serving_synthetic(settings: Settings, progress: SendingProgress) -> Iterator[None]:
    """Serve metrics and health of the synthetic flow during the block; RatemillError if the port cannot be had."""
    if not settings.metrics_port:
        yield
        return
    facts = SyntheticFacts(progress)
    with listening(settings, (facts,), facts.why_not_ready):
        yield


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticFacts(Collector):
    """What this run has sent. It is ready once it knows a catalog and has its producers; what fails later ends it."""

    progress: SendingProgress

    def why_not_ready(self) -> str:
        """Empty if the flow is ready, else the reason in a line."""
        return "" if self.progress.sent else "the flow is starting"

    def collect(self) -> Iterator[Family]:
        """The metrics of the flow."""
        yield READY.one(not self.why_not_ready())
        yield SYNTHETIC_TRANSACTIONS.one(self.progress.total)
