"""`ratemill run`: a flow on Kafka, until it is told to stop."""

import sys
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from dataflows.connectors.kafka_client import check_reachable, topic_name
from dataflows.ledger.folder import LedgerFolder, existing_folder, open_folder
from dataflows.metrics_flows import serving_rating, serving_relay
from dataflows.metrics_settlement import serving_settlement
from dataflows.relay import RelayProgress, run_relay
from dataflows.relay_start import RelayStart
from dataflows.settings import Settings
from dataflows.settlement.flow import SettlementFlowProgress, run_settlement
from dataflows.supervisor import Supervisor
from dataflows.synthetic import SyntheticPlan
from ops.arguments import CatalogOption, LedgerOption, needed, settings_with
from ops.delivering import deliver
from ops.ledger_views import write_views
from ops.output import remark, say
from ops.reinjector import Reinjector
from ops.signals import stop_on_signals
from ops.simulating import simulate, simulate_into

EXAMPLES = """
Examples:

    ratemill run rating --ledger ledger

    ratemill run rating --ledger ledger --processes 4

    ratemill run relay --ledger ledger --metrics-port 9465

    ratemill run settlement --ledger ledger --metrics-port 9468

    ratemill run synthetic --metrics-port 9467

    ratemill run synthetic --into events.ndjson --catalog catalog

    RATEMILL_SYNTHETIC_RATE=600 RATEMILL_SYNTHETIC_SHAPE=bursts ratemill run synthetic --workers 2

    ratemill run notifications --deliveries deliveries --metrics-port 9466
"""


class Flow(StrEnum):
    """The flows that run on Kafka."""

    RATING = "rating"
    RELAY = "relay"
    SETTLEMENT = "settlement"
    SYNTHETIC = "synthetic"
    NOTIFICATIONS = "notifications"


# Which options a flow has, besides those of all flows.
_OF_ALL = {"flow", "metrics_port"}
_OPTIONS = {
    Flow.RATING: {"ledger", "processes", "workers", "accept_loss"},
    Flow.RELAY: {"ledger", "start", "until_caught_up"},
    Flow.SETTLEMENT: {"ledger", "workers"},
    Flow.SYNTHETIC: {"workers", "until_caught_up", "catch_up", "into", "catalog"},
    Flow.NOTIFICATIONS: {"deliveries", "accept_loss"},
}

ProcessesOption = Annotated[
    int | None, typer.Option(min=1, max=64, help="Processes of the flow on this machine; may change at any start.")
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="Port of metrics and health, one for each flow of a machine; 0: none."),
]
WorkersOption = Annotated[int | None, typer.Option(min=1, max=64, help="Worker threads of one process.")]
AcceptLossOption = Annotated[
    bool,
    typer.Option(
        "--accept-loss", help="rating, notifications: go on at the first record there is where others were deleted."
    ),
]
StartOption = Annotated[
    RelayStart | None, typer.Option("--from", help="relay: where to begin, should Kafka know no position.")
]
UntilCaughtUpOption = Annotated[
    bool, typer.Option("--until-caught-up", help="relay, synthetic: end when all that is due has been sent.")
]
DeliveriesOption = Annotated[
    Path | None,
    typer.Option("--deliveries", "--state", help="notifications: its folder; else RATEMILL_DELIVERIES.", metavar="DIR"),
]
CatchUpOption = Annotated[
    int, typer.Option(min=0, help="synthetic: send hours, too, that ended so long ago at most.", metavar="MINUTES")
]
IntoOption = Annotated[
    Path | None,
    typer.Option("--into", help="synthetic: write whole hours into this file, without Kafka.", metavar="FILE"),
]


def run(
    context: typer.Context,
    flow: Annotated[
        Flow, typer.Argument(help="Which flow.", metavar="rating|relay|settlement|synthetic|notifications")
    ],
    ledger: LedgerOption = None,
    processes: ProcessesOption = None,
    workers: WorkersOption = None,
    metrics_port: MetricsPortOption = None,
    accept_loss: AcceptLossOption = False,
    start: StartOption = None,
    until_caught_up: UntilCaughtUpOption = False,
    catch_up: CatchUpOption = 0,
    into: IntoOption = None,
    catalog: CatalogOption = None,
    deliveries: DeliveriesOption = None,
) -> None:
    """Run a flow until Ctrl-C or SIGTERM.

    `rating` rates the topic of events into the ledger; processes that die or stall are all started again from the last
    commit, and what is committed at the end is published. `relay` sends what the ledger publishes to the other topics.
    `settlement` closes periods of the ledger into invoices as its input is complete up to their ends. `synthetic` sends
    the simulated transactions of test subscriptions when their time comes. `notifications` delivers what the topic of
    notifications holds, by e-mail and webhook.
    """
    _refuse_others(flow, context)
    stopping = stop_on_signals()
    stated = {"catalog": catalog, "ledger": ledger, "processes": processes, "workers": workers}
    settings = settings_with(**stated, metrics_port=metrics_port, deliveries=deliveries)
    match flow:
        case Flow.NOTIFICATIONS:
            deliver(settings, needed(settings.deliveries, "deliveries"), accept_loss, stopping)
        case Flow.SETTLEMENT:
            _settle(settings, stopping)
        case Flow.SYNTHETIC if into is not None:
            simulate_into(into, needed(settings.catalog, "catalog"), settings)
        case Flow.SYNTHETIC:
            simulate(SyntheticPlan(settings, stopping, catch_up, until_caught_up, remark))
        case Flow.RATING:
            _rate(settings, _ledger_of(flow, settings), accept_loss, stopping)
        case Flow.RELAY:
            _relay(settings, _ledger_of(flow, settings), until_caught_up, start, stopping)


def _ledger_of(flow: Flow, settings: Settings) -> LedgerFolder:
    """The ledger of a flow that has one, made if there is none."""
    path = needed(settings.ledger, "ledger")
    # First, so that a wrong address leaves no empty ledger behind.
    check_reachable(settings)
    is_new = not path.exists()
    folder = open_folder(path, settings.key_groups, settings.writers)
    if sys.stderr.isatty():
        remark(_first_words(flow, folder, settings, is_new))
    return folder


def _first_words(flow: Flow, folder: LedgerFolder, settings: Settings, is_new: bool) -> str:
    """What is going to happen; a new ledger where a relay was to find one is likely a misspelt name."""
    what = {
        Flow.RATING: f"Rating the topic {topic_name(settings, 'metering.events')} into the ledger {folder.root}",
        Flow.RELAY: f"Relaying the ledger {folder.root}",
    }[flow]
    made = ", which is new" if is_new else ""
    port = settings.metrics_port
    metrics = f"; metrics on http://{settings.metrics_host}:{port}/metrics" if port else ""
    return f"{what}{made}{metrics}. Ctrl-C ends it."


def _refuse_others(flow: Flow, context: typer.Context) -> None:
    """An option of another flow would be ignored in silence."""
    for option in context.command.params:
        if context.params.get(option.name or "") and option.name not in _OF_ALL | _OPTIONS[flow]:
            raise typer.BadParameter(f"is no option of `ratemill run {flow}`", param_hint=f"'{option.opts[0]}'")


def _relay(
    settings: Settings, folder: LedgerFolder, until_caught_up: bool, start: RelayStart | None, stopping: Event
) -> None:
    progress = RelayProgress()
    with serving_relay(settings, folder, progress):
        run_relay(settings, folder, stopping, until_caught_up, start=start, progress=progress, remark=remark)
    say(f"{progress.commits:,} commits relayed, {progress.messages.total():,} messages.")


def _settle(settings: Settings, stopping: Event) -> None:
    folder = existing_folder(needed(settings.ledger, "ledger"))
    if sys.stderr.isatty():
        remark(f"Settling the ledger {folder.root} as its input is complete. Ctrl-C ends it.")
    done = SettlementFlowProgress()
    with serving_settlement(settings, done):
        run_settlement(settings, folder, stopping, progress=done, remark=remark)
    say(f"{done.periods:,} settlement periods closed, {done.invoices:,} invoices.")


def _rate(settings: Settings, folder: LedgerFolder, accept_loss: bool, stopping: Event) -> None:
    write_views(folder.root)
    reinjector = Reinjector(settings, folder.root, remark)
    on_look = reinjector.look if settings.reinject_parked else lambda: None
    supervisor = Supervisor(folder, settings, accept_loss, remark, on_look, stopping=stopping)
    try:
        with serving_rating(settings, folder, supervisor.condition):
            supervisor.run()
    finally:
        reinjector.close()
