"""The views over invoices: amounts worked out by hand, and voided invoices left out."""

from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from ops.ledger_views import VIEWS, open_ledger
from schemas.invoices import INVOICE_LINES, INVOICES
from tests.ops.invoiced import LINES, rows, text
from tests.ops.ratemill import rated_world

INVOICE_VIEWS = ("invoice_register", "revenue_by_period", "recurring_vs_usage", "refunds", "focus_charges")
NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def views(invoiced):
    with open_ledger(invoiced) as connection:
        yield connection


def test_the_lines_are_as_worked_out_by_hand(views):
    found = {}
    for number, kind, adjusts, charge, tier, exact, amount in rows(
        views,
        "SELECT number, line_kind, adjusts, charge_id, tier, exact_amount, amount"
        " FROM invoice_lines JOIN invoices USING (invoice_id) ORDER BY number, line_number",
    ):
        named = f"{kind} of {adjusts}" if adjusts else kind
        found.setdefault(number, []).append((named, charge, tier, text(exact), text(amount)))
    assert {number: sorted(lines, key=str) for number, lines in found.items()} == {
        number: sorted(lines, key=str) for number, lines in LINES.items()
    }


def test_the_register_has_every_invoice_issued(views):
    found = {
        number: (state, total)
        for number, state, total in rows(views, "SELECT number, state, total FROM invoice_register")
    }
    sums = {number: sum(Decimal(line[4]) for line in lines) for number, lines in LINES.items()}
    assert found == {number: ("issued", total) for number, total in sums.items()}


def test_revenue_by_month_of_issue(views):
    month = 'left("month"::VARCHAR, 7) AS "month"'
    named = f"SELECT * EXCLUDE (synthetic) REPLACE ({month}) FROM revenue_by_period ORDER BY ALL"
    found = rows(views, named)
    amounts = {row[:3]: tuple(text(value) for value in row[3:9]) for row in found}
    # Recurring, one-time, usage, adjustments, refunds, total.
    assert amounts == {
        ("2026-11", "ahead", "USD"): ("31", "0", "0", "0", "0", "31"),
        ("2026-11", "api", "USD"): ("0", "50", "0", "0", "0", "50"),
        ("2026-11", "report", "USD"): ("0", "249", "0", "0", "0", "249"),
        # November's invoices are issued at its end; sub-ahead's of December at its end on the 16th.
        ("2026-12", "ahead", "USD"): ("15.5", "0", "0", "0", "0", "15.5"),
        ("2026-12", "api", "USD"): ("20", "0", "30", "0", "0", "50"),
        ("2026-12", "bulk", "EUR"): ("0", "0", "5", "0", "0", "5"),
        ("2026-12", "idle", "JPY"): ("0", "0", "400", "0", "0", "400"),
        ("2026-12", "share", "USD"): ("0", "0", "6.8", "0", "0", "6.8"),
        ("2026-12", "tried", "USD"): ("5.33", "0", "6.4", "0", "0", "11.73"),
        ("2027-01", "api", "USD"): ("20", "0", "30", "0", "-5", "45"),
        ("2027-01", "share", "USD"): ("0", "0", "0", "2.31", "0", "2.31"),
    }
    counts = {row[:2]: row[9:] for row in found}
    assert counts["2026-12", "ahead"] == (2, 1)
    assert sum(row[8] for row in found if row[2] == "USD") == sum(
        total for (total,) in rows(views, "SELECT total FROM invoices WHERE currency = 'USD'")
    )


def test_shares_of_fees_and_usage_are_decimals_that_sum_to_one(views):
    found = rows(
        views,
        'SELECT left("month"::VARCHAR, 7), product_id, recurring_amount, usage_amount, recurring_share, usage_share'
        " FROM recurring_vs_usage",
    )
    shares = {row[:2]: row[2:] for row in found}
    assert shares["2026-12", "api"] == (Decimal(20), Decimal(30), Decimal("0.4"), Decimal("0.6"))
    # 5.33 / 11.73 = 0.45439045...
    assert shares["2026-12", "tried"][2:] == (Decimal("0.454390"), Decimal("0.545610"))
    # The adjustments of January cancel each other out, the refund counts for neither.
    assert shares["2027-01", "api"] == (Decimal(20), Decimal(30), Decimal("0.4"), Decimal("0.6"))
    assert ("2026-11", "report") not in shares
    assert all(row[4] + row[5] == 1 for row in found)


def test_a_refund_stands_with_the_invoice_that_carries_it(views):
    query = "SELECT refund_id, number, subscription_id, amount, currency FROM refunds"
    assert rows(views, query) == [("outage", "sub-api-2", "sub-api", Decimal(-5), "USD")]
    refunded = "SELECT i.number FROM refunds AS r JOIN invoices AS i ON i.invoice_id = r.refunded_invoice_id"
    assert rows(views, refunded) == [("sub-api-1",)]


@pytest.mark.parametrize("view", INVOICE_VIEWS)
def test_an_empty_ledger_has_none(tmp_path, view):
    with open_ledger(rated_world(tmp_path, [])) as connection:
        assert rows(connection, f"SELECT * FROM {view}") == []


def line(invoice, number, kind, amount, **others):
    return {
        "invoice_line_id": f"{invoice}-{number}",
        "invoice_id": invoice,
        "line_number": number,
        "line_kind": kind,
        "subscription_id": "s",
        "product_id": "p",
        "product_version": "1.0.0",
        "period": 1,
        "period_start": NOVEMBER,
        "period_end": DECEMBER,
        "synthetic": False,
        "description": kind,
        "exact_amount": Decimal(amount),
        "amount": Decimal(amount),
        "currency": "USD",
        **others,
    }


def invoice(name, revision, voids=None):
    return {
        "invoice_id": name,
        "number": f"s-1-{revision}",
        "subscription_id": "s",
        "subscriber": "joe@acme.com",
        "product_id": "p",
        "product_version": "1.0.0",
        "period": 1,
        "revision": revision,
        "voids": voids,
        "synthetic": False,
        "period_start": NOVEMBER,
        "period_end": DECEMBER,
        "issued_at": DECEMBER,
        "currency": "USD",
        "recipient": '{"organization":null,"subscriber":{"email":"joe@acme.com","name":null}}',
    }


@pytest.fixture
def revised():
    """An invoice, the correcting revision that voids it, and one of simulated usage."""
    lines = [
        line("a", 1, "recurring_fee", "10"),
        line("a", 2, "refund", "-2", refund_id="r"),
        line("b", 1, "recurring_fee", "12"),
        line("b", 2, "refund", "-3", refund_id="r"),
        line("b", 3, "usage", "-20", charge_id="c", tier=1, quantity=Decimal(1)),
        line("t", 1, "usage", "500", charge_id="c", tier=1, quantity=Decimal(1), synthetic=True),
    ]
    simulated = invoice("t", 0) | {"synthetic": True}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(
            "invoices", pa.Table.from_pylist([invoice("a", 0), invoice("b", 1, "a"), simulated], INVOICES)
        )
        connection.register("invoice_lines", pa.Table.from_pylist(lines, INVOICE_LINES))
        connection.execute("CREATE TABLE invoice_states (invoice_id VARCHAR, state VARCHAR)")
        for view in INVOICE_VIEWS:
            connection.execute((VIEWS / f"{view}.sql").read_text())
        yield connection


def test_a_voided_invoice_says_so_and_counts_for_nothing(revised):
    assert rows(revised, "SELECT invoice_id, state, voids, voided_by FROM invoice_register ORDER BY 1") == [
        ("a", "voided", None, "b"),
        ("b", "issued", "a", None),
        ("t", "issued", None, None),
    ]
    assert rows(revised, "SELECT total, invoices FROM revenue_by_period WHERE synthetic") == [(Decimal(500), 1)]
    assert rows(
        revised, "SELECT recurring_amount, refund_amount, total, invoices FROM revenue_by_period WHERE NOT synthetic"
    ) == [(Decimal(12), Decimal(-3), Decimal(-11), 1)]
    assert rows(revised, "SELECT invoice_id, amount FROM refunds") == [("b", Decimal(-3))]
    assert rows(revised, "SELECT InvoiceId, sum(BilledCost) FROM focus_charges WHERE NOT x_Synthetic GROUP BY 1") == [
        ("b", Decimal(-11))
    ]


def test_shares_of_negative_amounts_are_not_told(revised):
    assert rows(revised, "SELECT total, recurring_share, usage_share FROM recurring_vs_usage WHERE NOT synthetic") == [
        (Decimal(-8), None, None)
    ]
