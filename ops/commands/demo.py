"""`ratemill demo`: the main job on generated traffic, with nothing else running."""

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.launcher import Summary
from ops.arguments import JsonOption, settings_with
from ops.commands.rate import show_summary, summary_record
from ops.ledger_views import DATABASE, open_ledger
from ops.output import print_json, print_table, remark, say
from ops.query import Answer, ask
from ops.rating_run import rate_files
from ops.traffic import Traffic, generate

EXAMPLES = """
Examples:

    ratemill demo

    ratemill demo --events 1000000 --seed 3 --ledger big-demo
"""

CATALOG = Path(__file__).parents[1] / "catalogs/demo"
_MARK = ".ratemill-demo"
_LATENESS_HOURS = 35 * 24

_OWED = """
    SELECT subscription_id, product_id || '@' || product_version AS product, charge_id, period_end,
        sum(usage_after - usage_before) FILTER (WHERE line_kind = 'usage') AS usage,
        sum(usage_after - usage_before) FILTER (WHERE line_kind = 'trial') AS trial_usage,
        sum(amount) AS amount, currency
    FROM line_items WHERE period_end > ? OR period_end IS NULL
    GROUP BY ALL ORDER BY subscription_id, charge_id, period_end
"""
_REVENUE = """
    SELECT currency, count(DISTINCT subscription_id) AS subscriptions, count(*) AS line_items, sum(amount) AS amount
    FROM line_items GROUP BY ALL ORDER BY currency
"""


def run(
    events: Annotated[int, typer.Option(min=1, max=100_000_000, help="How many events to generate.")] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events and so the same ledger.")] = 7,
    ledger: Annotated[Path, typer.Option(help="The folder to make; a demo's older one is replaced.")] = Path(
        "demo-ledger"
    ),
    json: JsonOption = False,
) -> None:
    """Rate an hour of generated traffic with the example catalog: duplicates, failed calls, trials, bad records.

    Ends with what each subscription used and owes, and how to go on from there.
    """
    catalog = load_catalog(CATALOG)
    _make_room(ledger)
    traffic = Traffic(events=events, seed=seed)
    file = ledger / "traffic.ndjson"
    if sys.stderr.isatty():
        remark(f"Generating {events:,} events.")
    with open(file, "wb") as out:
        out.writelines(generate(catalog, traffic))
    settings = settings_with(catalog=CATALOG, ledger=ledger, lateness_hours=_LATENESS_HOURS)
    summary = rate_files(catalog, CATALOG, [file], ledger, settings, "Rating an hour of traffic")
    if json:
        print_json({**summary_record(summary), "subscriptions": _ask(ledger, _OWED, traffic.start).records})
    else:
        _show(summary, ledger, traffic)


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


def _ask(ledger: Path, query: str, *parameters: Any) -> Answer:
    with open_ledger(ledger) as connection:
        return ask(connection, query, parameters)


def _show(summary: Summary, ledger: Path, traffic: Traffic) -> None:
    owed, all_of_it = _ask(ledger, _OWED, traffic.start), _ask(ledger, _REVENUE)
    print_table(owed.columns, owed.rows, "Used and owed so far, in the periods of this hour")
    print_table(all_of_it.columns, all_of_it.rows, "Per currency, with what delayed events add to earlier periods")
    show_summary(summary, ledger)
    say()
    say(f"The traffic is {ledger / 'traffic.ndjson'} (seed {traffic.seed}), the catalog {CATALOG}. Go on with:")
    for command in (
        f"ratemill sql --ledger {ledger}",
        f'ratemill sql "FROM verdict_counts ORDER BY events DESC" --ledger {ledger}',
        f"ratemill explain 0-0 --ledger {ledger}",
        f"ratemill backfill --catalog {CATALOG} --ledger {ledger}",
        f"duckdb -readonly {ledger / DATABASE}",
    ):
        say(f"    {command}")
