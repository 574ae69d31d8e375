"""Traffic whose ledger is known, for many fault tests: rated by the oracle, and by a flow that nothing disturbed.

The rule: a topic that holds exactly this traffic must end in exactly this ledger, whatever happens to the flow, the
broker or the disk meanwhile.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from uuid import uuid4

from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from tests.flow.world import assert_same_ledger
from tests.kafka.faults.acts import SECONDS
from tests.kafka.faults.oracle_compare import assert_as_rated
from tests.kafka.faults.traffic import LATENESS_HOURS, Traffic, make_traffic, send_all
from tests.kafka.flows import make_topics, running, settings_for, wait_until_received

PARTITIONS = 3
_RECORDS_EACH = 1_500
_CALM = {"epoch_seconds": 0.5, "batch_records": 50_000, "merge_files": 8, "processes": 1, "workers": 1}


@dataclass(frozen=True)
class Steady:
    """The traffic, and its ledger."""

    traffic: Traffic
    ledger: Path
    rows: int

    @classmethod
    def make(cls, broker, folder: Path) -> Self:
        """Send the traffic, rate it without any disturbance, and hold the ledger against the oracle."""
        traffic = make_traffic(folder / "world", PARTITIONS, _RECORDS_EACH, seed=1)
        settings = settings_of_faults(broker, f"steady{uuid4().hex[:8]}.", PARTITIONS)
        make_topics(settings, traffic.catalog)
        send_all(settings, traffic.records)
        ledger = rated_undisturbed(settings, folder / "ledger", len(traffic.records))
        return cls(traffic, ledger, assert_as_rated(ledger, traffic.expected(settings)))

    def assert_reached(self, settings: Settings, ledger: Path) -> int:
        """The topic holds this traffic and the ledger is this one, row for row; gives the rows compared."""
        self.traffic.assert_in_topic(settings)
        assert_same_ledger(ledger, self.ledger)
        return self.rows


def settings_of_faults(broker, prefix: str, partitions: int = PARTITIONS, **update: object) -> Settings:
    """Busy settings that restart quickly, for traffic that says when it was sent."""
    values = {"lateness_hours": LATENESS_HOURS, "topic_partitions": partitions, "replaced_files_seconds": 10}
    return settings_for(broker, prefix, **(values | update))


def rated_undisturbed(settings: Settings, ledger: Path, records: int) -> Path:
    """The ledger of a run over the topic from its start that nothing disturbs."""
    with running(settings.model_copy(update=_CALM), ledger) as flow:
        wait_until_received(ledger, records, flow, SECONDS)
    return ledger


def assert_merged(ledger: Path) -> None:
    """Files were merged in this ledger, so faults may have met a merge."""
    names = [path.name for path in (ledger / "commits").glob("commits-*.parquet")]
    levels = {int(name.split("-")[1]) for name in names}
    assert min(levels) < 99, f"nothing was merged: {read_table(ledger, 'commits').height} commits"
