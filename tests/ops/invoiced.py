"""A small ledger with invoices, made by hand: two settlements, so that late events, refunds and a cancellation show.

November is settled first. Then come a late event of each of two subscriptions, a refund, and the immediate end of
`sub-ahead` on 16 December at noon; then December is settled. All amounts are worked out by hand in `LINES`.
"""

import json
from decimal import Decimal
from pathlib import Path

import duckdb

from ops.cli import run
from ops.query import ask
from tests.ops.ratemill import event, query

CATALOG = """
organizations:
  - {id: acme, name: Acme Corp, billing_address: "1 Road, Leeds", metadata: {cost_center: "77"}}
subscribers:
  - {email: joe@acme.com, name: Joe, organizations: [acme]}
sources:
  - {id: api}
pricing_rules:
  - {id: eu, where: "region = 'eu'", multiplier: "1.2"}
products:
  - id: api
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: subscription
    recurring_fee: "20.00"
    setup_fee: "50.00"
    minimum_spend: "30.00"
    pricing_rules: [eu]
    charges:
      - id: calls
        meter: {aggregation: sum, element: calls}
        price: {model: graduated, tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05", flat_amount: "1"}]}
  - id: bulk
    version: 1.0.0
    currency: EUR
    settlement_period: month
    maximum_spend: "5.00"
    charges:
      - id: calls
        meter: {aggregation: sum, element: calls}
        price:
          model: included
          included: 5
          then: {model: volume, tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05"}]}
  - id: share
    version: 1.0.0
    currency: USD
    settlement_period: month
    charges:
      - id: share
        meter: {aggregation: sum, element: amount}
        price:
          {model: percentage, rate: "0.01", fixed_amount: "0.30", minimum_amount: "0.50", maximum_amount: "5.00"}
  - {id: report, version: 1.0.0, currency: USD, settlement_period: none, payment_model: one_time, amount: "249.00"}
  - id: ahead
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: subscription
    recurring_fee: {amount: "31.00", bill: in_advance}
    immediate_cancellation: true
  - id: tried
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: subscription
    recurring_fee: "10.00"
    free_trial: {days: 14}
    charges:
      - id: packs
        minimum_spend: "12.00"
        meter: {aggregation: count}
        price: {model: package, package_size: 100, package_price: 5}
  - id: idle
    version: 1.0.0
    currency: JPY
    settlement_period: month
    charges:
      - id: seats
        meter: {aggregation: max, element: seats}
        price: {model: graduated, flat_at_zero: true, tiers: [{unit_price: "3", flat_amount: "400"}]}
subscriptions:
  - {id: sub-api, product: api@1.0.0, subscriber: joe@acme.com, organization: acme, start: "2026-11-01T00:00:00Z"}
  - {id: sub-bulk, product: bulk@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: sub-share, product: share@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: sub-report, product: report@1.0.0, subscriber: joe@acme.com, start: "2026-11-05T09:30:00Z"}
  - {id: sub-ahead, product: ahead@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"%(end)s}
  - {id: sub-tried, product: tried@1.0.0, subscriber: joe@acme.com, start: "2026-11-10T00:00:00Z"}
  - {id: sub-idle, product: idle@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z",
     end: "2026-12-01T00:00:00Z"}
%(refunds)s
"""
END = ', end: "2026-12-16T12:00:00Z", cancelled_at: "2026-12-16T12:00:00Z"'
REFUND = """
refunds:
  - {id: outage, invoice: %s, amount: "5.00", note: "Hours without service", issued_at: "2026-12-05T00:00:00Z"}
"""
EVENTS = [
    event("a1", "sub-api", data={"calls": 90}),
    event("a2", "sub-api", data={"calls": 20}),
    event("a3", "sub-api", data={"calls": 3, "region": "eu"}),
    event("b1", "sub-bulk", data={"calls": 60}),
    event("b2", "sub-bulk", data={"calls": 60}),
    event("s1", "sub-share", data={"amount": "100.00"}),
    event("s2", "sub-share", data={"amount": "10.00"}),
    event("s3", "sub-share", data={"amount": "1000.00"}),
    event("t1", "sub-tried"),
    event("t2", "sub-tried", time="2026-11-25T00:00:00Z"),
]
LATE = [
    event("a4", "sub-api", data={"calls": 10}),
    event("s4", "sub-share", data={"amount": "200.50"}),
    *(event(f"d{day}", "sub-api", time=f"2026-12-{day:02}T00:00:00Z") for day in range(1, 13)),
]

# Of each invoice, by number: kind (or what an adjustment or proration corrects), charge and tier, all digits, rounded.
LINES = {
    "sub-ahead-0": [("recurring_fee", None, None, "31", "31")],
    "sub-api-0": [("setup_fee", None, None, "50", "50")],
    "sub-report-0": [("one_time", None, None, "249", "249")],
    # December's fee in advance.
    "sub-ahead-1": [("recurring_fee", None, None, "31", "31")],
    # 100 calls at 0.10; 10 at 0.05 and 3 at 0.06; up to 30: 30 - 10 - 0.68 - 1.
    "sub-api-1": [
        ("recurring_fee", None, None, "20", "20"),
        ("usage", "calls", 1, "10", "10"),
        ("usage", "calls", 2, "0.68", "0.68"),
        ("tier_flat", "calls", 2, "1", "1"),
        ("minimum_spend", None, None, "18.32", "18.32"),
    ],
    # 5 are included; 55 at 0.10, repriced to 0.05; 60 at 0.05; 5.75 is 0.75 more than 5.
    "sub-bulk-1": [
        ("usage", "calls", 0, "0", "0"),
        ("usage", "calls", 1, "5.5", "5.5"),
        ("usage", "calls", 2, "3", "3"),
        ("reprice", "calls", 2, "-2.75", "-2.75"),
        ("maximum_spend", None, None, "-0.75", "-0.75"),
    ],
    "sub-idle-1": [("tier_flat", "seats", 1, "400", "400")],
    # 100 costs 1 and 0.30; 10 would cost 0.40, so 0.50; 1000 would cost 10.30, so 5.
    "sub-share-1": [
        ("usage", "share", 1, "1", "1"),
        ("fixed_amount", "share", 1, "0.3", "0.3"),
        ("minimum_amount", "share", 1, "0.5", "0.5"),
        ("maximum_amount", "share", 1, "5", "5"),
    ],
    # The trial ends on 24 November: 16 of 30 days of 10 and of 12, the latter less 5.
    "sub-tried-1": [
        ("recurring_fee", None, None, "5.333333333333333333", "5.33"),
        ("usage", "packs", 1, "5", "5"),
        ("minimum_spend", "packs", 0, "1.4", "1.4"),
    ],
    # 15.5 of 31 days were used.
    "sub-ahead-2": [("proration of recurring_fee", None, None, "-15.5", "-15.5")],
    # 12 calls at 0.10, and up to 30; 10 late calls at 0.05, and so much less up to 30; the refund.
    "sub-api-2": [
        ("recurring_fee", None, None, "20", "20"),
        ("usage", "calls", 1, "1.2", "1.2"),
        ("minimum_spend", None, None, "28.8", "28.8"),
        ("adjustment of minimum_spend", None, None, "-0.5", "-0.5"),
        ("adjustment of usage", "calls", 2, "0.5", "0.5"),
        ("refund", None, None, "-5", "-5"),
    ],
    # 200.50 late: in all 3.005 becomes 3.01, and 1 was invoiced.
    "sub-share-2": [
        ("adjustment of fixed_amount", "share", 1, "0.3", "0.3"),
        ("adjustment of usage", "share", 1, "2.005", "2.01"),
    ],
}


def invoiced_world(folder: Path) -> Path:
    """The ledger, settled twice."""
    catalog, ledger = folder / "catalog", folder / "ledger"
    catalog.mkdir()
    _write(catalog, "", "")
    first, second = _file(folder / "a.ndjson", EVENTS), _file(folder / "b.ndjson", LATE)
    _run("rate", "--catalog", catalog, "--events", first, "--ledger", ledger)
    _run("settle", "--catalog", catalog, "--ledger", ledger, "--as-of", "2026-12-01T00:00:00Z")
    [invoice] = query(ledger, "SELECT invoice_id FROM invoices WHERE number = 'sub-api-1'")
    _write(catalog, END, REFUND % invoice["invoice_id"])
    _run("rate", "--catalog", catalog, "--events", first, second, "--ledger", ledger)
    _run("settle", "--catalog", catalog, "--ledger", ledger, "--as-of", "2027-01-01T00:00:00Z")
    return ledger


def _write(folder: Path, end: str, refunds: str) -> None:
    (folder / "catalog.yaml").write_text(CATALOG % {"end": end, "refunds": refunds})


def _file(path: Path, events: list[dict]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in events))
    return path


def _run(*arguments: str | Path) -> None:
    assert run([str(argument) for argument in arguments]) == 0, arguments


def rows(connection: duckdb.DuckDBPyConnection, sql: str) -> list[tuple]:
    """The rows of a query."""
    return [tuple(row) for row in ask(connection, sql).rows]


def text(amount: Decimal) -> str:
    """An amount without trailing zeros."""
    return format(amount.normalize(), "f")
