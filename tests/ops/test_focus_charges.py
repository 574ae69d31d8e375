"""The view `focus_charges`: the rules of FOCUS 1.2 on every row, and what each kind of line becomes."""

from datetime import UTC, datetime

import pytest

from ops.ledger_views import open_ledger
from tests.ops.invoiced import rows, text

NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def views(invoiced):
    with open_ledger(invoiced) as connection:
        yield connection


MANDATORY = """
BilledCost BillingAccountId BillingCurrency BillingPeriodEnd BillingPeriodStart ChargeCategory ChargePeriodEnd
ChargePeriodStart ContractedCost EffectiveCost InvoiceIssuerName ListCost ProviderName PublisherName ServiceCategory
ServiceName
""".split()
MANDATORY_OR_NULL = ["BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"]
BROKEN = [
    "ChargeCategory NOT IN ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment')",
    "ChargeClass <> 'Correction'",
    "ChargeFrequency IS NULL OR ChargeFrequency NOT IN ('One-Time', 'Recurring', 'Usage-Based')",
    "ChargeFrequency = 'Usage-Based' AND ChargeCategory = 'Purchase'",
    "ChargePeriodStart >= ChargePeriodEnd OR BillingPeriodStart >= BillingPeriodEnd",
    "date_trunc('month', BillingPeriodStart) <> BillingPeriodStart",
    "BillingPeriodStart + INTERVAL 1 MONTH <> BillingPeriodEnd",
    "(ConsumedQuantity IS NULL) <> (ChargeCategory <> 'Usage')",
    "(ConsumedUnit IS NULL) <> (ConsumedQuantity IS NULL)",
    "ChargeCategory IN ('Usage', 'Purchase') AND (PricingQuantity IS NULL OR ListUnitPrice IS NULL)",
    "ChargeCategory IN ('Usage', 'Purchase') AND (ContractedUnitPrice IS NULL OR PricingCategory IS NULL)",
    "ChargeCategory IN ('Usage', 'Purchase') AND (SkuId IS NULL OR SkuPriceId IS NULL OR SkuMeter IS NULL)",
    "(PricingUnit IS NULL) <> (PricingQuantity IS NULL)",
    "ListUnitPrice < 0 OR ContractedUnitPrice < 0",
    "ListUnitPrice IS NULL AND ListCost <> BilledCost",
    "ChargeCategory = 'Adjustment' AND EffectiveCost <> BilledCost",
    "(SubAccountId IS NULL) <> (SubAccountName IS NULL)",
    "InvoiceId IS NULL OR BillingAccountType IS NULL",
]


def test_focus_has_the_mandatory_columns(views):
    described = {name: kind for name, kind, *_ in rows(views, "DESCRIBE focus_charges")}
    assert set(MANDATORY) | set(MANDATORY_OR_NULL) <= set(described)
    nulls = " OR ".join(f"{name} IS NULL" for name in MANDATORY)
    assert rows(views, f"SELECT count(*) FROM focus_charges WHERE {nulls}") == [(0,)]
    costs = {kind for name, kind in described.items() if name.endswith(("Cost", "UnitPrice"))}
    assert costs == {"DECIMAL(38,18)"}
    own = [name.startswith("x_") for name in described]
    assert own == sorted(own)
    focus = [name for name in described if not name.startswith("x_")]
    assert focus == sorted(focus)


@pytest.mark.parametrize("broken", BROKEN)
def test_no_charge_breaks_a_rule_of_focus(views, broken):
    assert rows(views, f"SELECT x_InvoiceNumber, ChargeDescription FROM focus_charges WHERE {broken}") == []


def test_price_times_quantity_is_the_cost_and_costs_sum_to_the_invoice(views):
    found = rows(
        views, "SELECT ListUnitPrice, PricingQuantity, ListCost FROM focus_charges WHERE ListUnitPrice IS NOT NULL"
    )
    assert len(found) > 20
    assert all(price * quantity == cost for price, quantity, cost in found)
    assert (
        rows(
            views,
            "SELECT number FROM invoices JOIN focus_charges ON InvoiceId = invoice_id"
            " GROUP BY number, total HAVING sum(BilledCost) <> total",
        )
        == []
    )


def test_consumption_is_what_was_used(views):
    found = rows(
        views, "SELECT SkuId, sum(ConsumedQuantity) FROM focus_charges GROUP BY 1 HAVING sum(1) > 0 ORDER BY 1"
    )
    consumed = {sku: text(quantity) for sku, quantity in found if quantity is not None}
    assert consumed == {
        "api@charge:calls": "135",
        "bulk@charge:calls": "120",
        "idle@charge:seats": "0",
        "share@charge:share": "1310.5",
        "tried@charge:packs": "1",
    }


FOCUS = {
    # Number and line: category, class, frequency, billing month, charged from and until (days), quantity, unit.
    ("sub-report-0", 1): ("Purchase", None, "One-Time", NOVEMBER, "11-05", "11-06", "1", "Fees"),
    ("sub-ahead-0", 1): ("Purchase", None, "Recurring", NOVEMBER, "11-01", "12-01", "1", "Fees"),
    ("sub-ahead-1", 1): ("Purchase", None, "Recurring", NOVEMBER, "12-01", "01-01", "1", "Fees"),
    ("sub-api-1", 2): ("Usage", None, "Usage-Based", NOVEMBER, "11-01", "12-01", "100", "Units"),
    ("sub-api-1", 3): ("Usage", None, "Usage-Based", NOVEMBER, "11-01", "12-01", "1", "Lots"),
    ("sub-api-1", 5): ("Adjustment", None, "Recurring", NOVEMBER, "11-01", "12-01", None, None),
    ("sub-bulk-1", 4): ("Usage", None, "Usage-Based", NOVEMBER, "11-01", "12-01", "-55", "Units"),
    ("sub-bulk-1", 5): ("Adjustment", None, "Usage-Based", NOVEMBER, "11-01", "12-01", None, None),
    ("sub-tried-1", 1): ("Purchase", None, "Recurring", DECEMBER, "11-10", "12-10", "1", "Fees"),
    ("sub-ahead-2", 1): ("Purchase", "Correction", "Recurring", DECEMBER, "12-01", "12-16", "-1", "Fees"),
    ("sub-api-2", 4): ("Usage", "Correction", "Usage-Based", DECEMBER, "11-01", "12-01", "1", "Lots"),
    ("sub-api-2", 6): ("Adjustment", "Correction", "One-Time", DECEMBER, "12-01", "01-01", None, None),
}


def test_charges_as_focus_has_them(views):
    found = {
        (number, int(line.rpartition("-")[2])): (*rest[:6], rest[6] and text(rest[6]), rest[7])
        for number, line, *rest in rows(
            views,
            "SELECT x_InvoiceNumber, x_InvoiceLineId, ChargeCategory, ChargeClass, ChargeFrequency, BillingPeriodStart,"
            " strftime(ChargePeriodStart, '%m-%d'), strftime(ChargePeriodEnd, '%m-%d'), PricingQuantity, PricingUnit"
            " FROM focus_charges",
        )
    }
    assert {key: found[key] for key in FOCUS} == FOCUS


def test_the_billing_account_is_the_organization_or_else_the_subscriber(views):
    asked = (
        "SELECT DISTINCT BillingAccountId, BillingAccountName, BillingAccountType, Tags FROM focus_charges ORDER BY 1"
    )
    assert rows(views, asked) == [
        ("acme", "Acme Corp", "Organization", '{"cost_center":"77"}'),
        ("joe@acme.com", "Joe", "Subscriber", None),
    ]


def test_the_provider_is_named_by_a_variable(invoiced):
    asked = "SELECT DISTINCT ProviderName, PublisherName, InvoiceIssuerName FROM focus_charges"
    with open_ledger(invoiced) as connection:
        assert rows(connection, asked) == [("Ratemill",) * 3]
        connection.execute("SET VARIABLE provider_name = 'Cloudline'")
        assert rows(connection, asked) == [("Cloudline",) * 3]
