"""What a demo shows of its hour: invoices, notifications, totals known and invoiced, and where to go on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataflows.settlement.closing import SettlementProgress
from ops.ledger_views import DATABASE, open_ledger
from ops.output import print_table, say, text_of
from ops.query import ask
from ops.synthetic_hour import Compared, amount_text

_OWED = """
    SELECT subscription_id AS subscription, product_id || '@' || product_version AS product,
        sum(amount) AS amount, currency
    FROM line_items WHERE NOT synthetic GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Hour:
    """The hour of all test subscriptions, and how long rating and settling it took, ordinary traffic included."""

    compared: list[Compared]
    invoices: list[dict[str, Any]]
    notifications: list[dict[str, Any]]
    settled: SettlementProgress
    seconds: float


def show_ordinary(ledger: Path) -> None:
    """What ordinary traffic costs so far, with all digits."""
    with open_ledger(ledger) as connection:
        owed = ask(connection, _OWED)
    print_table(owed.columns, owed.rows, "Usage of ordinary subscriptions, in all periods that it fell into")


def show_hour(hour: Hour, ledger: Path, catalog: Path, page: Path) -> None:
    """Tables for a person."""
    rows = [
        (
            row["number"],
            _span(row["period_start"], row["period_end"]),
            row["lines"],
            amount_text(row["total"], row["currency"]),
        )
        for row in hour.invoices
    ]
    say()
    print_table(("invoice", "period (UTC)", "lines", "total"), rows, "Invoices of the test hour")
    notices = [tuple(row.values()) for row in hour.notifications]
    print_table(("notification", "test subscriptions", "all"), notices, "Notifications")
    settled = hour.settled
    say(f"{settled.done:,} settlement periods closed: {settled.invoices:,} invoices with {settled.lines:,} lines.")
    say()
    for one in hour.compared:
        say(f"{one.subscription} ({one.product}, {one.test_mode}): {one.transactions:,} simulated transactions.")
        say(f"    The hour's total {_beforehand(one)}")
    say(f"The last invoice as a page, for a browser: {page}")
    say(f"Generated, rated and settled in {hour.seconds:.1f} s. Go on with:")
    _show_ways_on(hour, ledger, catalog)


def _show_ways_on(hour: Hour, ledger: Path, catalog: Path) -> None:
    invoice = hour.invoices[-1]["invoice_id"]
    for command in (
        f'ratemill sql "FROM verdict_counts ORDER BY events DESC" --ledger {ledger}',
        f"ratemill explain 1-0 --ledger {ledger}",
        f"ratemill invoice {invoice} --html invoice.html --ledger {ledger}",
        f"ratemill settle --catalog {catalog} --ledger {ledger} --as-of 2026-12-01T00:00:00Z",
        f"ratemill backfill --catalog {catalog} --ledger {ledger}",
        f"duckdb -readonly {ledger / DATABASE}",
    ):
        say(f"    {command}")


def _beforehand(one: Compared) -> str:
    invoiced = amount_text(one.invoiced, one.currency)
    if one.known is None:
        return f"cannot be known beforehand; invoiced: {invoiced}"
    told = f"known beforehand: {amount_text(one.known, one.currency)}; invoiced: {invoiced}"
    if one.differs:
        return f"{told}, or {text_of(one.exact)} with all digits: the two differ"
    return told if one.known == one.invoiced else f"{told}, each line rounded by itself"


def _span(start: datetime, end: datetime) -> str:
    begin, behind = start.astimezone(UTC), end.astimezone(UTC)
    if start == end:
        return f"{begin:%Y-%m-%d %H:%M}"
    return f"{begin:%Y-%m-%d %H:%M} to {behind:%H:%M}"
