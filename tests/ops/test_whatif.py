"""What another catalog would have cost, with amounts worked out by hand."""

import csv
from pathlib import Path

import pytest

from tests.ops.ratemill import Ran, event, inside, rated_world

CATALOG = """
subscribers: [{email: joe@acme.com}]
sources: [{id: api}]
products:
  - id: basic
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: subscription
    recurring_fee: "10"
    charges:
      - id: calls
        meter: {aggregation: sum, element: n}
        price: {model: graduated, tiers: [{up_to: "100", unit_price: "0.10"}, {unit_price: "0.05"}]}
subscriptions:
  - {id: a, product: basic@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: b, product: basic@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: c, product: basic@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
"""
OTHER = """
subscribers: [{email: joe@acme.com}]
sources: [{id: api}]
products:
  - id: basic
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: subscription
    recurring_fee: "12"
    charges:
      - id: calls
        meter: {aggregation: sum, element: n}
        price: {model: graduated, tiers: [{up_to: "100", unit_price: "0.08"}, {unit_price: "0.06"}]}
  - id: flat
    version: 1.0.0
    currency: USD
    settlement_period: month
    charges:
      - id: calls
        meter: {aggregation: sum, element: n}
        price: {model: per_unit, unit_price: "0.2"}
subscriptions:
  - {id: a, product: basic@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: b, product: flat@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
  - {id: d, product: basic@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
"""
EVENTS = [
    event("a1", "a", time="2026-11-10T00:00:00Z", data={"n": 150}),
    event("b1", "b", time="2026-11-12T00:00:00Z", data={"n": 50}),
    event("b1", "b", time="2026-11-12T00:00:00Z", data={"n": 50}),
    event("b2", "b", time="2026-12-03T00:00:00Z", data={"n": 20}),
    event("c1", "c", time="2026-11-12T00:00:00Z", data={"n": 10}),
    event("d1", "d", time="2026-11-12T00:00:00Z", data={"n": 5}),
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Path:
    return rated_world(tmp_path_factory.mktemp("whatif"), EVENTS, catalog=CATALOG)


def whatif(ledger: Path, folder: Path, catalog: str, *options: str | Path) -> Ran:
    (folder / "other").mkdir(exist_ok=True)
    (folder / "other/catalog.yaml").write_text(catalog)
    ran = inside("whatif", "--catalog", folder / "other", "--ledger", ledger, *options)
    assert ran.code == 0, ran.err
    return ran


def amounts(rows, *names):
    return {tuple(row[name] for name in names): (row["now"], row["then"], row["difference"]) for row in rows}


def test_each_difference_is_as_worked_out_by_hand(ledger, tmp_path):
    said = whatif(ledger, tmp_path, OTHER, "--json").json()
    # a: 100 at 0.10, 50 at 0.05, fee 10; then 100 at 0.08, 50 at 0.06, fee 12.
    # b: 50 at 0.10, fee 10, and 20 at 0.10 in December, which is not over; then 70 at 0.2.
    # d was parked; then 5 at 0.08, fee 12.
    assert amounts(said["subscriptions"], "subscription_id", "product_now", "product_then") == {
        ("a", "basic@1.0.0", "basic@1.0.0"): ("22.5", "23", "0.5"),
        ("b", "basic@1.0.0", "flat@1.0.0"): ("17", "14", "-3"),
        ("d", None, "basic@1.0.0"): ("0", "12.4", "12.4"),
    }
    assert amounts(said["products"], "product_id") == {
        ("basic",): ("39.5", "35.4", "-4.1"),
        ("flat",): ("0", "14", "14"),
    }
    assert amounts(said["totals"], "currency") == {("USD",): ("39.5", "49.4", "9.9")}
    assert [row["subscription_id"] for row in said["winners"]] == ["b"]
    assert [row["subscription_id"] for row in said["losers"]] == ["d", "a"]
    assert said["missing"] == [{"subscription_id": "c", "currency": "USD", "now": "11"}]
    assert [row["subscription_id"] for row in said["other_product"]] == ["b"]
    assert said["whole_periods"] == {"now": 3, "then": 3}
    assert said["usage_only"] == {"now": 1, "then": 1}


def test_of_a_period_that_the_range_cuts_usage_is_compared(ledger, tmp_path):
    said = whatif(
        ledger, tmp_path, OTHER, "--from", "2026-11-05T00:00:00Z", "--to", "2026-11-11T00:00:00Z", "--json"
    ).json()
    assert amounts(said["subscriptions"], "subscription_id") == {("a",): ("12.5", "11", "-1.5")}
    assert said["whole_periods"] == {"now": 0, "then": 0}


def test_whole_months_have_their_fees(ledger, tmp_path):
    said = whatif(ledger, tmp_path, OTHER, "--to", "2027-01-01T00:00:00Z", "--json").json()
    # A second month: 10 and 12 for a, 10 for b, 12 for d.
    assert amounts(said["subscriptions"], "subscription_id") == {
        ("a",): ("32.5", "35", "2.5"),
        ("b",): ("27", "14", "-13"),
        ("d",): ("0", "24.4", "24.4"),
    }
    assert said["usage_only"] == {"now": 0, "then": 0}


def test_a_fee_in_advance_belongs_to_its_period(ledger, tmp_path):
    ahead = OTHER.replace('recurring_fee: "12"', 'recurring_fee: {amount: "12", bill: in_advance}\n    setup_fee: "3"')
    said = whatif(ledger, tmp_path, ahead, "--json").json()
    assert amounts(said["subscriptions"], "subscription_id")["a",] == ("22.5", "26", "3.5")
    later = whatif(ledger, tmp_path, ahead, "--from", "2026-12-01T00:00:00Z", "--to", "2027-01-01T00:00:00Z", "--json")
    assert amounts(later.json()["subscriptions"], "subscription_id")["a",] == ("10", "12", "2")


def test_currencies_are_never_mixed(ledger, tmp_path):
    head = "  - id: flat\n    version: 1.0.0\n    currency: "
    said = whatif(ledger, tmp_path, OTHER.replace(f"{head}USD", f"{head}EUR"), "--json").json()
    of_b = [row for row in said["subscriptions"] if row["subscription_id"] == "b"]
    assert amounts(of_b, "currency") == {("USD",): ("17", "0", "-17"), ("EUR",): ("0", "14", "14")}
    assert amounts(said["totals"], "currency") == {
        ("EUR",): ("0", "14", "14"),
        ("USD",): ("39.5", "35.4", "-4.1"),
    }


def test_the_same_catalog_makes_no_difference(ledger, tmp_path):
    said = whatif(ledger, tmp_path, CATALOG, "--json").json()
    assert {row["difference"] for row in said["subscriptions"]} == {"0"}
    assert said["winners"] == said["losers"] == said["missing"] == said["other_product"] == []


def test_simulated_usage_is_in_no_sum(tmp_path):
    """What nobody used is compared by itself."""
    simulated = event("a2", "a", time="2026-11-10T00:00:00Z", data={"n": 50}, synthetic=True)
    ledger = rated_world(tmp_path, [*EVENTS, simulated], catalog=CATALOG)
    made = whatif(
        ledger, tmp_path, OTHER, "--from", "2026-11-01T00:00:00Z", "--to", "2026-12-01T00:00:00Z", "--json"
    ).json()
    assert amounts(made["simulated"], "subscription_id") == {("a",): ("25", "26", "1")}
    assert [row["subscription_id"] for row in made["subscriptions"]] == ["b", "d"]
    assert amounts(made["totals"], "currency") == {("USD",): ("15", "22.4", "7.4")}
    shown = whatif(ledger, tmp_path, OTHER).out
    assert "With simulated usage" in shown


def test_as_a_table_and_as_csv(ledger, tmp_path):
    ran = whatif(ledger, tmp_path, OTHER, "--csv", tmp_path / "differences.csv")
    for word in ("12.4", "Pay more", "Pay less", "Not in the other catalog", "another product"):
        assert word in ran.out
    with open(tmp_path / "differences.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["subscription_id"], row["difference"]) for row in rows] == [("a", "0.5"), ("b", "-3"), ("d", "12.4")]


def test_what_cannot_be_compared_is_said(ledger, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/catalog.yaml").write_text(OTHER)
    ran = inside("whatif", "--catalog", tmp_path / "other", "--ledger", ledger, "--to", "2026-10-01T00:00:00Z")
    assert ran.code == 1
    assert "range ends before it begins" in ran.err


def test_a_catalog_of_fees_alone(tmp_path):
    """No charge at all, on either side."""
    catalog = """
subscribers: [{email: joe@acme.com}]
sources: [{id: api}]
products:
  - {id: flat, version: 1.0.0, currency: USD, settlement_period: month, payment_model: subscription,
     recurring_fee: "10"}
subscriptions:
  - {id: a, product: flat@1.0.0, subscriber: joe@acme.com, start: "2026-11-01T00:00:00Z"}
"""
    ledger = rated_world(tmp_path, [event("a1", "a", time="2026-11-10T00:00:00Z")], catalog=catalog)
    month = ("--from", "2026-11-01T00:00:00Z", "--to", "2026-12-01T00:00:00Z", "--json")
    found = whatif(ledger, tmp_path, catalog.replace('"10"', '"12"'), *month).json()
    assert amounts(found["totals"], "currency") == {("USD",): ("10", "12", "2")}
