"""`ratemill invoice`: one invoice, or a draft of it, on the terminal, as JSON or as a page; and that it is paid."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.errors import RatemillError
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.invoice_states import state_paid
from dataflows.moments import moment_text
from dataflows.settings import Settings
from dataflows.templating.filters import money, quantity
from ops.arguments import CatalogOption, JsonOption, LedgerOption, moment_option, needed, settings_with
from ops.invoices.page import write_page
from ops.invoices.records import Invoice, find_invoice
from ops.ledger_views import open_ledger
from ops.output import print_json, print_table, remark, say, text_of
from ops.settling import draft_invoice
from schemas.fields import read_decimal
from schemas.invoices import InvoiceState

EXAMPLES = """
Examples:

    ratemill invoice alder-platinum-2 --ledger demo-ledger

    ratemill invoice f258d8c1 --ledger demo-ledger --html invoice.html

    ratemill invoice alder-platinum-2 --ledger demo-ledger --paid --note "Transfer of 3 November"

    ratemill invoice alder-platinum-2 --ledger demo-ledger --json

    ratemill invoice alder-platinum --draft --ledger ledger --catalog catalog
"""


def run(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="A number (alder-platinum-2), an id, or at least its first 6 digits.")
    ],
    ledger: LedgerOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write it as a page to this file.", metavar="FILE")
    ] = None,
    paid: Annotated[
        bool, typer.Option("--paid", help="State that it is paid; the invoice itself never changes.")
    ] = False,
    draft: Annotated[
        bool, typer.Option("--draft", help="Of the subscription ID: what its open period comes to so far.")
    ] = False,
    catalog: CatalogOption = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="The draft of the period that is open then.", metavar="TIME")
    ] = None,
    note: Annotated[
        str | None, typer.Option("--note", help="Kept with --paid, such as a bank's reference.", metavar="TEXT")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show an invoice or a draft of the next one, write it as a page for whoever pays it, or state that it is paid."""
    if note is not None and not paid:
        raise typer.BadParameter("is kept with --paid only", param_hint="'--note'")
    if draft and paid:
        raise typer.BadParameter("a draft cannot be paid", param_hint="'--paid'")
    if not draft and (catalog or as_of):
        raise typer.BadParameter("is for --draft only", param_hint="'--catalog'" if catalog else "'--as-of'")
    settings = settings_with(ledger=ledger, **({"catalog": catalog} if draft else {}))
    place = needed(settings.ledger, "ledger")
    invoice = _drafted(place, settings, name, as_of) if draft else _found(place, name)
    if paid:
        remark(_pay(place, invoice, note))
        invoice = _found(place, invoice.head["invoice_id"])
    if html is not None:
        write_page(html, invoice, place, settings)
        remark(f"Wrote {html}")
    if json:
        print_json(_record(invoice))
    elif html is None and not paid:
        _show(invoice)


def _found(ledger: Path, name: str) -> Invoice:
    with open_ledger(ledger) as connection:
        return find_invoice(connection, ledger, name)


def _drafted(ledger: Path, settings: Settings, subscription_id: str, as_of: str | None) -> Invoice:
    given = None if settings.catalog is None else load_catalog(settings.catalog)
    moment = None if as_of is None else moment_option(as_of, "as-of")
    return draft_invoice(ledger, settings, subscription_id, given, moment)


def _pay(ledger: Path, invoice: Invoice, note: str | None) -> str:
    """State that the invoice is paid; what to say of it."""
    number = invoice.head["number"]
    if invoice.state == InvoiceState.VOIDED:
        raise RatemillError(f"invoice {number} is voided and cannot be paid: {invoice.replaced_by} takes its place")
    is_new, said = state_paid(existing_folder(ledger), invoice.head["invoice_id"], datetime.now(UTC), note)
    if is_new:
        return f"Invoice {number} is paid."
    return f"Invoice {number} was stated to be paid at {text_of(said.stated_at)} already; nothing was changed."


def _record(invoice: Invoice) -> dict[str, Any]:
    stated = invoice.stated or {}
    aside = ("recipient", "credentials", "certificate", "lines")
    return {
        "state": invoice.state.label,
        **{name: value for name, value in invoice.head.items() if name not in aside},
        "replaces": invoice.replaces,
        "replaced_by": invoice.replaced_by,
        "stated_at": stated.get("stated_at"),
        "note": stated.get("note"),
        "recipient": invoice.recipient,
        "lines": list(invoice.lines),
        "credentials": list(invoice.credentials),
        "certificate": invoice.certificate,
    }


def _show(invoice: Invoice) -> None:
    head, currency = invoice.head, invoice.head["currency"]
    say(f"Invoice {head['number']}")
    for label, value in _facts(invoice):
        say(f"  {label:<13} {text_of(value)}")
    rows = [
        (
            line["line_number"],
            line["description"],
            line["period"],
            "" if line["quantity"] is None else quantity(line["quantity"]),
            "" if line["unit_price"] is None else money(line["unit_price"], currency),
            money(line["amount"], currency),
        )
        for line in invoice.lines
    ]
    print_table(
        ("line", "description", "period", "quantity", "unit price", f"amount ({currency})"),
        [*rows, ("", "Total", "", "", "", money(head["total"], currency))],
        right=("line", "period", "quantity", "unit price", f"amount ({currency})"),
    )
    if invoice.credentials:
        amount = f"exact amount ({currency})"
        parts = [
            (one["credential_id"] or "-", money(read_decimal(one["amount"]), currency)) for one in invoice.credentials
        ]
        print_table(("credential", amount), parts, title="Usage by credential, before rounding", right=(amount,))


def _facts(invoice: Invoice) -> list[tuple[str, Any]]:
    """Labels and values above the lines; those that an invoice does not have are left out."""
    head, stated = invoice.head, invoice.stated or {}
    organization, subscriber = invoice.recipient["organization"] or {}, invoice.recipient["subscriber"]
    since = f", stated at {text_of(stated['stated_at'])}" if invoice.state == InvoiceState.PAID else ""
    verdicts = ", ".join(f"{name} {count:,}" for name, count in invoice.certificate["verdicts"].items() if count)
    facts = [
        ("state", f"{invoice.state.label}{since}"),
        ("note", stated.get("note")),
        ("replaces", invoice.replaces),
        ("replaced by", invoice.replaced_by),
        ("id", head["invoice_id"]),
        ("billed to", organization.get("name") or organization.get("id") or subscriber["name"] or subscriber["email"]),
        ("address", " ".join((organization.get("billing_address") or "").split())),
        ("product", f"{head['product_id']}@{head['product_version']}"),
        ("subscription", head["subscription_id"]),
        ("period", f"{head['period']}: {text_of(head['period_start'])} to {text_of(head['period_end'])}"),
        ("issued", head["issued_at"] if invoice.drafted_at is None else None),
        ("drafted", None if invoice.drafted_at is None else moment_text(invoice.drafted_at)),
        ("of", "simulated usage" if head["synthetic"] else None),
        ("rated up to", invoice.certificate["progress"]),
        ("verdicts", verdicts),
        ("catalog", head["catalog_digest"]),
        ("ledger digest", invoice.certificate["ledger_digest"]),
    ]
    return [(label, value) for label, value in facts if value]
