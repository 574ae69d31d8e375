"""`ratemill settle`: what is due becomes invoices."""

from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.settlement.closing import SettlementProgress
from ops.arguments import CatalogOption, JsonOption, LedgerOption, moment_option, needed, settings_with
from ops.ledger_views import write_views
from ops.output import print_json, print_table, remark, say
from ops.progress import CountingProgress
from ops.settling import correct_invoice, settle_ledger

EXAMPLES = """
Examples:

    ratemill settle --catalog catalog --ledger ledger

    ratemill settle --catalog catalog --ledger ledger --as-of 2026-12-01T00:00:00Z

    ratemill settle --ledger ledger --json

    ratemill settle --catalog catalog --ledger ledger --correct alder-platinum-2
"""
_PROBLEMS = 1


def run(
    catalog: CatalogOption = None,
    ledger: LedgerOption = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Close what is over by then, such as 2026-12-01T00:00:00Z.", metavar="TIME"),
    ] = None,
    correct: Annotated[
        str | None,
        typer.Option(
            "--correct", help="Make this invoice anew instead; it is voided, and not one that is paid.", metavar="ID"
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Close the settlement periods that are over into invoices; the same command again changes nothing."""
    settings = settings_with(catalog=catalog, ledger=ledger)
    place = needed(settings.ledger, "ledger")
    moment = None if as_of is None else moment_option(as_of, "as-of")
    given = None if settings.catalog is None else load_catalog(settings.catalog)
    if correct is not None:
        _tell_corrected(*correct_invoice(place, settings, correct, given, moment), json)
        return
    with CountingProgress("Settling", "periods") as live:
        done = settle_ledger(place, settings, given, moment, lambda told: live.update(told.done, told.due))
    write_views(place)
    if json:
        print_json(_record(done))
    else:
        _show(done)
    if done.waiting or done.strangers or done.stray_refunds:
        raise typer.Exit(_PROBLEMS)


def _tell_corrected(voided: str, issued: str, json: bool) -> None:
    if json:
        print_json({"voided": voided, "issued": issued})
    else:
        say(f"Invoice {voided} is voided; {issued} takes its place.")


def _record(done: SettlementProgress) -> dict[str, Any]:
    return {
        "periods": done.done,
        "invoices": done.invoices,
        "invoice_lines": done.lines,
        "waiting": [
            {"subscription_id": name, "reason": reason, "reason_detail": detail}
            for name, reason, detail in done.waiting
        ],
        "unknown_subscriptions": done.strangers,
        "refunds_of_unknown_invoices": done.stray_refunds,
    }


def _show(done: SettlementProgress) -> None:
    if not done.due and not done.invoices:
        say("Nothing is due that was not settled before.")
    else:
        say(f"{done.done:,} settlement periods closed: {done.invoices:,} invoices with {done.lines:,} lines.")
    if done.waiting:
        print_table(("subscription", "reason", "detail"), done.waiting, title="Not settled, until a person looks")
    for name in done.strangers:
        remark(
            f"Subscription {name} has line items or was settled, and the catalog does not have it: it was not settled."
        )
    for name in done.stray_refunds:
        remark(f"Refund {name} names no invoice of the ledger whose subscription the catalog has: it waits.")
