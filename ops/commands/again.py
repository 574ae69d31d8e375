"""What `backfill` and `reinject` share: the flow is run as `rate` runs it, and the report is shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dataflows.connectors.catalog_folder import load_catalog
from ops.arguments import needed, settings_with
from ops.output import print_json, print_table, say
from ops.rating_run import rate_files
from ops.reinjection import Kind
from ops.second_chance import Report, run_again
from rating.catalog import compile_catalog

ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it; without this, only say what would be done.")]

_AMOUNT_COLUMNS = ("subscription_id", "product_id", "period_start", "period_end", "currency", "events", "amount")


def give_again(kind: Kind, catalog: Path | None, ledger: Path | None, apply: bool, json: bool) -> None:
    """Re-inject the events of a kind and show what became, or would become, of them."""
    settings = settings_with(catalog=catalog, ledger=ledger)
    place = needed(settings.ledger, "ledger")
    source = needed(settings.catalog, "catalog")
    # What waited long enough to be re-injected is not sent to wait again.
    settings = settings.model_copy(update={"lateness_hours": None})
    known = load_catalog(source)

    def rate(at: Path, files: Sequence[Path]) -> None:
        rate_files(known, source, files, at, settings, "Rating again" if apply else "Trying out")

    report = run_again(place, kind, compile_catalog(known), settings, rate, apply=apply)
    if json:
        print_json(
            {
                "applied": report.applied,
                "events": report.events,
                "verdicts": report.verdicts,
                "left": report.left,
                "amounts": report.amounts,
            }
        )
    else:
        _show(report, kind)


def _show(report: Report, kind: Kind) -> None:
    if not report.events:
        say(f"Nothing to do: no {kind} event can be charged that was not before.")
    else:
        counts = ", ".join(f"{number:,} {verdict}" for verdict, number in report.verdicts.items())
        became = "became" if report.applied else "would become"
        say(f"{report.events:,} {kind} events {became}: {counts}.")
    if report.amounts:
        rows = [[row[name] for name in _AMOUNT_COLUMNS] for row in report.amounts]
        print_table(_AMOUNT_COLUMNS, rows, "Charged" if report.applied else "Would be charged")
    show_left(report.left)
    if report.events and not report.applied:
        say("This was a dry run and changed nothing; --apply does it.")


def show_left(left: Mapping[str, int]) -> None:
    """Why how many events go on waiting."""
    if left:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in left.items())
        say(f"{sum(left.values()):,} go on waiting: {reasons}.")
