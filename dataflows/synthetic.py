"""The synthetic flow: simulated transactions of test subscriptions go to the topic of events when their time comes.

    published catalog ──► which hours run ──► due: transactions whose moment has passed ──► send: metering.events

Owns that order, starting and stopping. Does not own the transactions (`rating.synthetic`). The rule: nothing is kept;
a flow that starts again in the middle of an hour sends that hour again from its start, and every repeat is a duplicate.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Event

import bytewax.operators as op
from bytewax._bytewax import cluster_main, run_main
from bytewax.dataflow import Dataflow

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.connectors.catalog_follower import CatalogFollower
from dataflows.connectors.due_transactions import DueTransactions, RunningHours
from dataflows.connectors.event_sink import EventSink, SendingProgress
from dataflows.connectors.kafka_client import describe_topic, plain_kafka_errors, topic_name
from dataflows.failures import sentence_within
from dataflows.settings import Settings
from rating.synthetic import Pace

TOPIC = "metering.events"
_EPOCH = timedelta(seconds=10)
_MICROSECONDS_PER_MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class SyntheticPlan:
    """All that a synthetic flow is built from.

    `catch_up_minutes`: hours that ended so long ago, at most, are sent too. With `until_caught_up` it ends once all
    that is due was sent.
    """

    settings: Settings
    stopping: Event = field(default_factory=Event)
    catch_up_minutes: int = 0
    until_caught_up: bool = False
    remark: Callable[[str], None] = lambda sentence: None
    progress: SendingProgress = field(default_factory=SendingProgress)


def build_flow(plan: SyntheticPlan, hours: RunningHours) -> Dataflow:
    """The flow, ready to run."""
    flow = Dataflow("synthetic")
    due = op.input("due", flow, DueTransactions(hours, plan.stopping, plan.until_caught_up))
    op.output("send", due, EventSink(plan.settings, topic_name(plan.settings, TOPIC), plan.progress))
    return flow


def run_synthetic(plan: SyntheticPlan) -> SendingProgress:
    """Run until stopped, or caught up; RatemillError says in one sentence why the flow cannot go on."""
    settings = plan.settings
    topic = topic_name(settings, TOPIC)
    describe_topic(settings, topic)
    # A ledger keeps the catalogs that rated it; here nothing outlives the flow.
    with tempfile.TemporaryDirectory(prefix="ratemill-synthetic-") as folder:
        versions = CatalogVersions(CatalogHistory(Path(folder)))
        follower = CatalogFollower(settings, versions, plan.remark)
        follower.start()
        try:
            follower.wait_for_first(settings.start_seconds)
            pace = Pace(settings.synthetic_rate, settings.synthetic_shape, settings.synthetic_seed)
            hours = RunningHours(versions, follower.failure, pace, plan.catch_up_minutes * _MICROSECONDS_PER_MINUTE)
            with plain_kafka_errors(f"sending to the topic {topic}"):
                _run(build_flow(plan, hours), settings.workers)
        finally:
            follower.stop()
    return plan.progress


def _run(flow: Dataflow, workers: int) -> None:
    try:
        if workers == 1:
            run_main(flow, epoch_interval=_EPOCH)
        else:
            cluster_main(flow, [], 0, epoch_interval=_EPOCH, worker_count_per_proc=workers)
    except Exception as error:
        told = sentence_within(error)
        if told is None:
            raise
        raise told from None
