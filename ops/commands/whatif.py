"""`ratemill whatif`: who would have paid how much more or less under another catalog."""

import csv as separated
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.ledger.folder import existing_folder
from ops.arguments import CatalogOption, JsonOption, LedgerOption, moment_option, needed, settings_with
from ops.output import print_json, print_table, remark, say, text_of
from ops.progress import CountingProgress
from ops.whatif import Comparison, Row, compare_catalogs

EXAMPLES = """
Examples:

    ratemill whatif --catalog new-catalog --ledger ledger

    ratemill whatif --catalog new-catalog --ledger ledger --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z

    ratemill whatif --catalog new-catalog --ledger ledger --csv differences.csv
"""
_MOST_SHOWN = 50
_COLUMNS = ("subscription_id", "product_now", "product_then", "currency", "now", "then", "difference")


def run(
    catalog: CatalogOption = None,
    ledger: LedgerOption = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="The first moment that counts; else the ledger's.", metavar="TIME")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="The moment before which events count; else all do.", metavar="TIME")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write one row per subscription to a file.", metavar="FILE")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rate the ledger's events under another catalog, and compare what subscriptions owe; nothing is changed."""
    settings = settings_with(catalog=catalog, ledger=ledger)
    folder = existing_folder(needed(settings.ledger, "ledger"))
    other = load_catalog(needed(settings.catalog, "catalog"))
    first = None if begin is None else moment_option(begin, "from")
    last = None if end is None else moment_option(end, "to")
    with CountingProgress("Rating", "events") as live:
        made = compare_catalogs(folder, other, first, last, live.update)
    if csv is not None:
        _write(csv, made.subscriptions)
    if json:
        print_json(_record(made))
    else:
        _show(made)


def _write(target: Path, rows: Sequence[Row]) -> None:
    with open(target, "w", newline="", encoding="utf-8") as file:
        out = separated.writer(file)
        out.writerow(_COLUMNS)
        out.writerows([text_of(row[name]) for name in _COLUMNS] for row in rows)


def _record(made: Comparison) -> dict[str, Any]:
    return {
        "from": made.begin,
        "to": made.end,
        "whole_periods": {"now": made.whole[0], "then": made.whole[1]},
        "usage_only": {"now": made.cut[0], "then": made.cut[1]},
        "totals": made.totals,
        "products": made.products,
        "subscriptions": made.subscriptions,
        "winners": made.winners(),
        "losers": made.losers(),
        "simulated": made.simulated,
        "missing": made.missing,
        "other_product": made.moved,
    }


def _show(made: Comparison) -> None:
    say(f"From {text_of(made.begin)} to {text_of(made.end)}; amounts now, then, and then less now.")
    say(
        f"{made.whole[0]:,} settlement periods lie wholly in it ({made.whole[1]:,} then): fees, spends and rounding are"
        f" included. Of {made.cut[0]:,} others ({made.cut[1]:,} then), usage only is compared."
    )
    _table(made.totals, ("currency", "now", "then", "difference"), "In all")
    _table(made.products, ("product_id", "currency", "now", "then", "difference"), "By product")
    if len(made.subscriptions) <= _MOST_SHOWN:
        _table(made.subscriptions, _COLUMNS, "By subscription")
    else:
        remark(f"{len(made.subscriptions):,} subscriptions: `--csv FILE` and `--json` list them all.")
    _table(made.winners(), _COLUMNS, "Pay less: the ten greatest differences of each currency")
    _table(made.losers(), _COLUMNS, "Pay more: the ten greatest differences of each currency")
    _table(made.moved, ("subscription_id", "product_now", "product_then"), "Have another product then")
    _table(
        made.simulated,
        ("subscription_id", "currency", "now", "then", "difference"),
        "With simulated usage, and in none of the above",
    )
    _table(made.missing, ("subscription_id", "currency", "now"), "Not in the other catalog, and not compared")


def _table(rows: Sequence[Row], columns: Sequence[str], title: str) -> None:
    if rows:
        print_table(columns, [[row[name] for name in columns] for row in rows], title=title)
