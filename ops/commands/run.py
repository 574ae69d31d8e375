"""`ratemill run`: a flow on Kafka, until it is told to stop."""

import signal
from enum import StrEnum
from threading import Event
from typing import Annotated

import typer

from dataflows.connectors.kafka_client import check_reachable
from dataflows.ledger.folder import open_folder
from dataflows.metrics_server import serving
from dataflows.supervisor import Supervisor
from ops.arguments import LedgerOption, needed, settings_with
from ops.ledger_views import write_views
from ops.output import remark

EXAMPLES = """
Examples:

    ratemill run rating --ledger ledger

    ratemill run rating --ledger ledger --processes 4
"""


class Flow(StrEnum):
    """The flows that run on Kafka."""

    RATING = "rating"


def run(
    flow: Annotated[Flow, typer.Argument(help="Which flow.", metavar="rating")],
    ledger: LedgerOption = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes of the flow on this machine; may change at any start.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker threads of one process.")] = None,
    accept_loss: Annotated[
        bool,
        typer.Option("--accept-loss", help="Go on at the first record there is where the next ones were deleted."),
    ] = False,
) -> None:
    """Run a flow until Ctrl-C or SIGTERM; what it has committed by then is published.

    Processes that die or stall are all started again from the last commit.
    """
    del flow
    settings = settings_with(ledger=ledger, processes=processes, workers=workers)
    place = needed(settings.ledger, "ledger")
    check_reachable(settings)
    folder = open_folder(place, settings.key_groups, settings.writers)
    write_views(folder.root)
    supervisor = Supervisor(folder, settings, accept_loss, remark, stopping=stop_on_signals())
    with serving(settings, folder, supervisor.condition):
        supervisor.run()


def stop_on_signals() -> Event:
    """An event that Ctrl-C and SIGTERM set; the second of them interrupts at once."""
    stopping = Event()

    def stop(number: int, frame: object) -> None:
        del number, frame
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return stopping
