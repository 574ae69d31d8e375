"""`ratemill demo`: the main job in seconds, with nothing else running: traffic, test modes, invoices."""

import shutil
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.launcher import Summary
from dataflows.settings import Settings
from dataflows.settlement.closing import SettlementProgress
from ops.arguments import JsonOption, settings_with
from ops.commands.rate import show_summary, summary_record
from ops.demo_tables import Hour, show_hour, show_ordinary
from ops.invoices.page import write_page
from ops.invoices.records import find_invoice
from ops.ledger_views import open_ledger, write_views
from ops.output import print_json, remark
from ops.progress import CountingProgress
from ops.rating_run import rate_files
from ops.settling import settle_ledger
from ops.synthetic_hour import compare, invoices_of, notifications_by_kind, write_hour
from ops.traffic import Traffic, generate
from rating.catalog import compile_catalog
from rating.synthetic import Pace, Shape, Simulation, simulations
from schemas.catalog import Catalog

EXAMPLES = """
Examples:

    ratemill demo

    ratemill demo --rate 240 --shape tier_bounds

    ratemill demo --events 1000000 --seed 3 --ledger big-demo
"""

CATALOG = Path(__file__).parents[1] / "catalogs/demo"
_MARK = ".ratemill-demo"
_LATENESS_HOURS = 35 * 24
_DIFFERS = 1


def run(
    events: Annotated[
        int, typer.Option(min=1, max=100_000_000, help="How many events of ordinary traffic to generate.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events and so the same ledger.")] = 7,
    rate: Annotated[
        int, typer.Option(min=1, max=10_000, help="Transactions per minute of each test subscription.")
    ] = 60,
    shape: Annotated[Shape, typer.Option(help="How the usage of test subscriptions spreads.")] = Shape.STEADY,
    ledger: Annotated[Path, typer.Option(help="The folder to make; a demo's older one is replaced.")] = Path(
        "demo-ledger"
    ),
    json: JsonOption = False,
) -> None:
    """Rate and settle an hour in accelerated time: test subscriptions period by period, ordinary traffic beside them.

    Ends with their invoices and notifications, what was known beforehand beside what was invoiced, and how to go on.
    Exit code 1 if the two differ.
    """
    catalog = load_catalog(CATALOG)
    _make_room(ledger)
    settings = settings_with(catalog=CATALOG, ledger=ledger, lateness_hours=_LATENESS_HOURS)
    traffic = Traffic(events=events, seed=seed)
    made = simulations(catalog, compile_catalog(catalog), Pace(rate, shape, seed), ("5min", "5min_synthetic"))
    began = time.monotonic()
    counts, summary, settled = _rate_and_settle(catalog, traffic, made, ledger, settings)
    hour = Hour(
        compare(made, counts, ledger),
        invoices_of(made, ledger),
        notifications_by_kind(made, ledger),
        settled,
        time.monotonic() - began,
    )
    page = _page_of_last(hour, ledger, settings)
    if json:
        print_json(_record(summary, hour))
    else:
        show_ordinary(ledger)
        show_summary(summary, ledger)
        show_hour(hour, ledger, CATALOG, page)
    if settled.waiting or any(one.differs for one in hour.compared):
        raise typer.Exit(_DIFFERS)


def _page_of_last(hour: Hour, ledger: Path, settings: Settings) -> Path:
    """The last invoice of the hour as a page."""
    page = ledger / "invoice.html"
    with open_ledger(ledger) as connection:
        invoice = find_invoice(connection, ledger, hour.invoices[-1]["invoice_id"])
    write_page(page, invoice, ledger, settings)
    return page


def _rate_and_settle(
    catalog: Catalog, traffic: Traffic, made: list[Simulation], ledger: Path, settings: Settings
) -> tuple[dict[str, int], Summary, SettlementProgress]:
    """Gives the transactions of each test subscription, what was rated, and what was settled."""
    if sys.stderr.isatty():
        remark(f"Generating {traffic.events:,} events, and the hour of {len(made)} test subscriptions.")
    ordinary, simulated = ledger / "traffic.ndjson", ledger / "synthetic.ndjson"
    with open(ordinary, "wb") as out:
        out.writelines(generate(catalog, traffic))
    counts = write_hour(made, simulated)
    summary = rate_files(catalog, CATALOG, [ordinary, simulated], ledger, settings, "Rating the hour")
    end = traffic.start + max(traffic.duration, timedelta(hours=1))
    with CountingProgress("Settling", "periods") as live:
        settled = settle_ledger(ledger, settings, catalog, end, lambda told: live.update(told.done, told.due))
    write_views(ledger)
    return counts, summary, settled


def _record(summary: Summary, hour: Hour) -> dict[str, Any]:
    return {
        **summary_record(summary),
        "test_subscriptions": [asdict(one) for one in hour.compared],
        "invoices": hour.invoices,
        "notifications": hour.notifications,
        "periods_settled": hour.settled.done,
        "invoices_issued": hour.settled.invoices,
    }


def _make_room(ledger: Path) -> None:
    """An empty folder for the demo; only a folder that a demo made is ever removed."""
    if ledger.exists():
        if not (ledger / _MARK).exists():
            raise RatemillError(
                f"the folder {ledger} was not made by a demo and is left alone: name another one with --ledger"
            )
        shutil.rmtree(ledger)
    ledger.mkdir(parents=True)
    (ledger / _MARK).touch()
