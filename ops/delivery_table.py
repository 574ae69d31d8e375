"""What people do with the store of the notification flow: list deliveries, and try failed ones again."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.errors import RatemillError
from dataflows.notifications.looks import COLUMNS, MALFORMED_COLUMNS, knows, listed, malformed, tallies, try_again
from ops.arguments import JsonOption, needed, settings_with
from ops.output import print_json, print_table, remark, say

DeliveriesOption = Annotated[
    Path | None,
    typer.Option("--deliveries", help="The notification flow's folder; else RATEMILL_DELIVERIES.", metavar="DIR"),
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="How many rows, the latest first.")]


class State(StrEnum):
    """What a delivery may be."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


def list_deliveries(
    state: Annotated[State | None, typer.Option("--state", help="Only those in this state.")] = None,
    deliveries: DeliveriesOption = None,
    limit: LimitOption = 1_000,
    json: JsonOption = False,
) -> None:
    """List deliveries, the latest first: to whom, how often it was tried, and the last error."""
    folder = needed(settings_with(deliveries=deliveries).deliveries, "deliveries")
    _print(COLUMNS, listed(folder, state, limit), json)
    counts = [each for each in tallies(folder) if each.deliveries and state in (None, each.state)]
    remark("; ".join(f"{each.deliveries:,} {each.state} by {each.channel}" for each in counts) or "No deliveries.")


def list_malformed(deliveries: DeliveriesOption = None, limit: LimitOption = 1_000, json: JsonOption = False) -> None:
    """List records of the topic that are no notifications, and why."""
    folder = needed(settings_with(deliveries=deliveries).deliveries, "deliveries")
    _print(MALFORMED_COLUMNS, malformed(folder, limit), json)


def retry(
    notification: Annotated[str | None, typer.Argument(help="A notification's id.", metavar="[ID]")] = None,
    all_failed: Annotated[bool, typer.Option("--all-failed", help="Whatever has failed.")] = False,
    deliveries: DeliveriesOption = None,
) -> None:
    """Try failed deliveries again, of one notification or all; a running flow does so at once."""
    if (notification is None) != all_failed:
        raise typer.BadParameter("name a notification, or say --all-failed", param_hint="'ID'")
    settings = settings_with(deliveries=deliveries)
    folder = needed(settings.deliveries, "deliveries")
    if notification is not None and not knows(folder, notification):
        raise RatemillError(f"there is no notification {notification} in {folder}: `ratemill notifications list`")
    count = try_again(folder, notification, settings.delivery_hours)
    say(f"{count:,} failed {'delivery is' if count == 1 else 'deliveries are'} pending again.")


def _print(columns: tuple[str, ...], rows: list[dict[str, Any]], json: bool) -> None:
    if json:
        print_json(rows)
    else:
        print_table(columns, [[row[name] for name in columns] for row in rows])
