"""`ratemill rate`: files of events into a ledger."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.launcher import Summary
from ops.arguments import CatalogOption, JsonOption, LedgerOption, needed, settings_with
from ops.output import print_json, print_table, say
from ops.rating_run import rate_files
from schemas.verdicts import VERDICT_LABELS

EXAMPLES = """
Examples:

    ratemill rate --catalog catalog --events events.ndjson --ledger ledger

    ratemill rate --catalog catalog --events day-1.ndjson.zst day-2.parquet --ledger ledger --lateness-hours 24
"""


def run(
    catalog: CatalogOption = None,
    events: Annotated[
        list[Path] | None,
        typer.Option("--events", help="Files of events: NDJSON, plain, .gz or .zst; Parquet.", metavar="FILE..."),
    ] = None,
    ledger: LedgerOption = None,
    lateness_hours: Annotated[
        int | None, typer.Option(min=1, max=840, help="Events older than this wait for a backfill; else none do.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rate files of events into a ledger, exactly once: the same command again changes nothing."""
    settings = settings_with(
        catalog=catalog, events=tuple(events) if events else None, ledger=ledger, lateness_hours=lateness_hours
    )
    source, place = needed(settings.catalog, "catalog"), needed(settings.ledger, "ledger")
    if not settings.events:
        needed(None, "events")
    summary = rate_files(load_catalog(source), source, settings.events, place, settings, "Rating")
    if json:
        print_json(summary_record(summary))
    else:
        show_summary(summary, place)


def summary_record(summary: Summary) -> dict[str, Any]:
    """What a run did, for JSON."""
    return {
        "received": summary.received,
        "verdicts": {label: summary.verdicts.get(label, 0) for label in VERDICT_LABELS},
        "line_items": summary.line_items,
        "seconds": f"{summary.seconds:.3f}",
    }


def show_summary(summary: Summary, ledger: Path) -> None:
    """What a run did, for a person."""
    if not summary.received:
        say(f"Nothing new: every record of these files is in the ledger {ledger} already.")
        return
    rows = [(label, summary.verdicts[label]) for label in VERDICT_LABELS if summary.verdicts.get(label)]
    print_table(("verdict", "records"), rows)
    speed = round(summary.received / summary.seconds)
    took = f"{summary.received:,} records in {summary.seconds:.1f} s ({speed:,}/s)"
    say(f"{took}, {summary.line_items:,} line items in {ledger}.")
