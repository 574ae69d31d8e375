"""What the settlement flow serves to those who watch it, and when it is ready."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from dataflows.metrics_server import listening
from dataflows.metrics_table import READY, SETTLEMENT_INVOICES, SETTLEMENT_PERIODS, SETTLEMENT_REACHED, SETTLEMENT_WAITS
from dataflows.settings import Settings
from dataflows.settlement.flow import SettlementFlowProgress

_MICROSECONDS = 1_000_000


@contextmanager
def serving_settlement(settings: Settings, progress: SettlementFlowProgress) -> Iterator[None]:
    """Serve metrics and health of the settlement flow during the block; RatemillError if the port cannot be had."""
    if not settings.metrics_port:
        yield
        return
    facts = SettlementFacts(progress)
    with listening(settings, (facts,), facts.why_not_ready):
        yield


@dataclass(frozen=True, slots=True, eq=False)
class SettlementFacts(Collector):
    """What this run has settled. Ready is: the ledger is complete up to a moment, and nothing is to be tried again."""

    progress: SettlementFlowProgress

    def why_not_ready(self) -> str:
        """Empty if the flow is ready, else the reason in a line."""
        if self.progress.failed:
            return "a settlement failed and is to be tried again; the flow's output says why"
        return "" if self.progress.reached is not None else "the ledger is not complete up to any moment yet"

    def collect(self) -> Iterator[Family]:
        """The metrics of the flow; up to when the ledger is complete is absent while nobody knows."""
        progress = self.progress
        yield READY.one(not self.why_not_ready())
        yield SETTLEMENT_PERIODS.one(progress.periods)
        yield SETTLEMENT_INVOICES.one(progress.invoices)
        yield SETTLEMENT_WAITS.one(sum(len(waiting) for waiting in progress.waiting.copy().values()))
        if progress.reached is not None:
            yield SETTLEMENT_REACHED.one(progress.reached // _MICROSECONDS)
