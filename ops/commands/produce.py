"""`ratemill produce`: sends files of events to the topic that rating reads."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.errors import RatemillError
from ops.arguments import JsonOption, needed, settings_with
from ops.output import print_json, print_table, say
from ops.producing import Delivery, send_files
from ops.progress import LiveProgress

EXAMPLES = """
Examples:

    RATEMILL_KAFKA_BOOTSTRAP_SERVERS=localhost:9092 ratemill produce --events events.ndjson

    ratemill produce --events day-1.ndjson.zst day-2.parquet --rate 5000
"""

_SHOWN = 20


def run(
    events: Annotated[
        list[Path] | None,
        typer.Option("--events", help="Files of events: NDJSON, plain, .gz or .zst; Parquet.", metavar="FILE..."),
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Events per second; else as fast as it goes.")] = None,
    json: JsonOption = False,
) -> None:
    """Send files of events to Kafka. Exit code 1 if one did not arrive; sending again charges nothing twice."""
    settings = settings_with(events=tuple(events) if events else None)
    if not settings.events:
        needed(None, "events")
    with LiveProgress("Sending") as live:
        delivery = send_files(settings.events, settings, rate, live.update)
    if json:
        print_json(_record(delivery))
    else:
        _show(delivery)
    if delivery.interrupted:
        raise RatemillError(
            "stopped; sending the files again charges nothing twice, for repeated events are duplicates"
        )
    if delivery.failed:
        raise typer.Exit(1)


def _show(delivery: Delivery) -> None:
    if delivery.failures:
        rows = [(failure.file, failure.line, failure.reason) for failure in delivery.failures[:_SHOWN]]
        print_table(("file", "line or row", "did not arrive because"), rows)
        if delivery.failed > _SHOWN:
            say(f"And {delivery.failed - _SHOWN:,} more.")
    speed = round(delivery.delivered / max(delivery.seconds, 0.001))
    say(
        f"{delivery.delivered:,} events delivered to {delivery.topic} in {delivery.seconds:.1f} s ({speed:,}/s)"
        + (f", {delivery.failed:,} not delivered." if delivery.failed else ".")
    )


def _record(delivery: Delivery) -> dict[str, Any]:
    return {
        "topic": delivery.topic,
        "delivered": delivery.delivered,
        "failed": delivery.failed,
        "seconds": f"{delivery.seconds:.3f}",
        "failures": [
            {"file": str(failure.file), "line": failure.line, "reason": failure.reason} for failure in delivery.failures
        ],
    }
