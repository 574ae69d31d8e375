"""A ledger with invoices, small enough that every number of it can be checked by hand."""

from pathlib import Path
from typing import Any

import polars as pl

from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import existing_folder
from dataflows.ledger.manifest import wait_until_visible
from dataflows.ledger.publication import published_state
from dataflows.ledger.published import read_table
from dataflows.ledger.writer import LedgerWriter
from tests.ops.ratemill import event, here, rated_world

CATALOG = """
organizations:
  - id: acme
    name: "Acme <Tools> & Co"
    external_id: CRM-7
    billing_address: "1 Main Street\\n3rd floor\\nAmsterdam"
    billing_email: pay@acme.example
    billing_phone: "+31 20 555"
    remittance_instructions: "IBAN NL00 BANK 0000\\nWithin 30 days"
    logo: acme.png
    timezone: Europe/Amsterdam
    metadata: {tax_id: NL001B01}
subscribers:
  - {email: joe@acme.example, name: Joe, organizations: [acme]}
  - {email: solo@solo.example}
sources: [{id: api}]
products:
  - id: calls
    name: Calls
    version: 1.0.0
    currency: USD
    settlement_period: month
    recurring_fee: {amount: "1250.00", bill: in_arrears}
    charges:
      - id: calls
        name: Calls made
        meter: {aggregation: sum, element: calls}
        price: {model: graduated, tiers: [{up_to: "1000", unit_price: "0.1"}, {unit_price: "0.0123"}]}
  - id: yen
    version: 1.0.0
    currency: JPY
    settlement_period: month
    charges:
      - {id: calls, meter: {aggregation: sum, element: calls}, price: {model: per_unit, unit_price: "1.5"}}
subscriptions:
  - id: acme-calls
    product: calls@1.0.0
    subscriber: joe@acme.example
    organization: acme
    start: "2026-09-30T22:00:00Z"
  - {id: solo-yen, product: yen@1.0.0, subscriber: solo@solo.example, start: "2026-10-01T00:00:00Z"}
credentials:
  - {id: key-1, name: Web shop, subscription: acme-calls}
"""
EVENTS = [
    event("a1", "acme-calls", time="2026-10-05T10:00:00Z", data={"calls": "900.5"}, credential="key-1"),
    event("a2", "acme-calls", time="2026-10-06T10:00:00Z", data={"calls": 1100}),
    event("y1", "solo-yen", time="2026-10-06T10:00:00Z", data={"calls": 1001}),
]


def settled_world(folder: Path) -> Path:
    """The ledger: two invoices of October."""
    ledger = rated_world(folder, EVENTS, catalog=CATALOG)
    here("settle", "--ledger", ledger, "--catalog", folder / "catalog", "--as-of", "2026-11-02T00:00:00Z")
    return ledger


def revised(ledger: Path, like: str, **changes: Any) -> None:
    """Add an invoice like another one, with these columns instead, as a settlement would."""
    folder = existing_folder(ledger)
    number = folder.settlement_writers()[0]
    rows = read_table(folder.root, "invoices")
    row = rows.filter(pl.col("invoice_id") == like).with_columns(
        **{name: pl.lit(value, rows.schema[name]) for name, value in changes.items()}
    )
    state = published_state(folder, number)
    writer = LedgerWriter(folder, number, state.snapshot(), Housekeeping(8, 500_000, 900))
    writer.append({"invoices": row})
    writer.announce(0, 0, LanePosition(3, None), row["catalog_digest"][0])
    writer.seal()
    writer.keep()
    writer.publish()
    wait_until_visible([folder.manifest(number)])
