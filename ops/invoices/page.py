"""An invoice as a page: one HTML file that needs nothing else, for a screen of any width and for paper.

Owns the values that the page shows and the environment of its template. Does not own words (`wording`). The rule: all
text is escaped, and every number is written from its exact decimal.
"""

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from dataflows.catalog_history import CatalogHistory
from dataflows.settings import Settings
from dataflows.templating import filters
from dataflows.templating.language import UNPRINTABLE
from dataflows.templating.values import logo_address
from ops.invoices.records import Invoice
from ops.invoices.wording import Names, day, groups, period_text, words_of
from rating.periods import moment_of
from schemas.fields import read_decimal
from schemas.invoices import InvoiceState

_BLOCK = ("name", "billing_address", "remittance_instructions", "storefront_url", "logo")
FOLDER = Path(__file__).with_name("pages")


def invoice_page(invoice: Invoice, names: Names, seller: str | None, logo_url: str | None) -> str:
    """The page; `seller` is who issues invoices, line by line, `logo_url` what names of logos are joined to."""
    return _template().render(_values(invoice, names, seller, logo_url))


def write_page(file: Path, invoice: Invoice, ledger: Path, settings: Settings) -> None:
    """Write the page to a file, with the names of the catalog that the invoice was made with, if that is kept."""
    history, digest = CatalogHistory(ledger), invoice.head["catalog_digest"]
    names = Names(history.catalog(digest) if history.keeps(digest) else None, invoice.head)
    file.write_text(invoice_page(invoice, names, settings.seller, settings.logo_url), encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"quantity": filters.quantity, "money": filters.money}
    return environment.get_template("invoice.html")


def _printable(value: Any) -> Any:
    """A value as it is written: nothing for null, no control characters."""
    if value is None:
        return ""
    return type(value)(UNPRINTABLE.sub("", value)) if isinstance(value, str) else value


def _values(invoice: Invoice, names: Names, seller: str | None, logo_url: str | None) -> dict[str, Any]:
    head, named = invoice.head, invoice.recipient["organization"]
    organization = dict.fromkeys(_BLOCK) | named if named else {}
    stated = invoice.stated
    owed = invoice.state == InvoiceState.ISSUED and head["total"] > 0
    return {
        "invoice": invoice,
        "head": head,
        "currency": head["currency"],
        "state": invoice.state.label,
        "owed": owed,
        "issued": day(head["issued_at"], names.zone),
        "drafted": None if invoice.drafted_at is None else day(moment_of(invoice.drafted_at), names.zone),
        "paid": day(stated["stated_at"], names.zone) if stated and invoice.state == InvoiceState.PAID else None,
        "period": period_text(head["period_start"], head["period_end"], names.zone),
        "product": names.product,
        "seller": [line.strip() for line in (seller or "").splitlines() if line.strip()],
        "logo": logo_address(organization.get("logo"), logo_url),
        "organization": organization,
        "subscriber": invoice.recipient["subscriber"],
        "details": _details(organization),
        "groups": groups(head, invoice.lines, names),
        "credentials": _credentials(invoice, names),
    }


def _details(organization: Any) -> list[tuple[str, str]]:
    """What else identifies who pays, as labels and values."""
    stated = {"Reference": organization.get("external_id")}
    stated |= {words_of(key): value for key, value in (organization.get("metadata") or {}).items()}
    stated |= {"E-mail": organization.get("billing_email"), "Phone": organization.get("billing_phone")}
    return [(label, value) for label, value in stated.items() if value]


def _credentials(invoice: Invoice, names: Names) -> list[dict[str, Any]]:
    """By credential, its name, id and exact amount; nothing where no usage came with one."""
    rows = [
        {
            "id": row["credential_id"],
            "name": names.credentials.get(row["credential_id"] or ""),
            "amount": read_decimal(row["amount"]),
        }
        for row in invoice.credentials
    ]
    return rows if any(row["id"] is not None for row in rows) else []
