"""Invoices made anew and supplements: what the commands say of them, and what is refused."""

import json
from datetime import UTC, datetime

import pytest

from dataflows.ledger.published import read_table
from tests.cases.notation import Record
from tests.ops.ratemill import Ran, inside
from tests.settlement.settling import Ledger
from tests.settlement.world import one_subscription

_DOCUMENT = one_subscription(
    immediate_cancellation=True,
    payment_model="subscription_overage",
    recurring_fee={"amount": "31", "bill": "in_advance"},
    included="2",
    overage_rate="0.5",
)


def event(name: str, day: int) -> Record:
    said = {"id": name, "source": "api", "subscription": "acme", "time": f"2026-01-{day:02}T00:00:00Z", "data": {}}
    return Record("corrections", 0, json.dumps(said).encode(), None, None)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """January settled: 31 for February in advance, 1.50 for usage."""
    made = Ledger(tmp_path, _DOCUMENT)
    made.rate([event(f"e{day}", day) for day in range(1, 6)])
    made.settle(datetime(2026, 2, 1, tzinfo=UTC))
    return made


def correct(ledger: Ledger, code: int, number: str, *options: str) -> Ran:
    asked = ("--ledger", str(ledger.root), "--catalog", str(ledger.catalog()), "--as-of", "2026-02-02T00:00:00Z")
    done = inside("settle", "--correct", number, *asked, *options)
    assert done.code == code, done
    return done


def states(ledger: Ledger) -> dict[str, str]:
    query = "SELECT number, state FROM invoice_register ORDER BY number"
    return {row["number"]: row["state"] for row in inside("sql", query, "--ledger", str(ledger.root), "--json").json()}


def test_a_correction_is_told_and_seen(ledger):
    ledger.rate([event("late", 7)])
    assert correct(ledger, 0, "acme-1").out == "Invoice acme-1 is voided; acme-1.1 takes its place.\n"
    assert states(ledger) == {"acme-0": "issued", "acme-1": "voided", "acme-1.1": "issued"}
    shown = inside("invoice", "acme-1.1", "--ledger", str(ledger.root), "--json").json()
    assert (shown["total"], shown["replaces"], shown["revision"]) == ("33", "acme-1", 1)
    assert correct(ledger, 0, "acme-1.1", "--json").json() == {"voided": "acme-1.1", "issued": "acme-1.2"}
    notices = read_table(ledger.root, "notifications")
    assert len(notices.filter(notices["kind"] == "invoice_issued")) == 4


def test_what_is_paid_or_voided_stays(ledger, tmp_path):
    assert inside("invoice", "acme-1", "--paid", "--ledger", str(ledger.root)).code == 0
    assert "acme-1 is paid, and stays: give money back by a refund" in correct(ledger, 1, "acme-1").err
    correct(ledger, 0, "acme-0")
    assert "acme-0 is voided: acme-0.1 took its place; correct that one" in correct(ledger, 1, "acme-0").err
    page = tmp_path / "page.html"
    assert inside("invoice", "acme-0", "--ledger", str(ledger.root), "--html", str(page)).code == 0
    assert "Invoice acme-0.1 takes its place" in page.read_text()
    assert "No invoice of" in correct(ledger, 1, "acme-7").err


def test_what_cannot_be_settled_is_not_voided(ledger):
    before = states(ledger)
    [subscription] = ledger.document["subscriptions"]
    ledger.document["subscriptions"] = [subscription | {"start": "2026-01-02T00:00:00Z"}]
    assert (
        "Nothing was changed: subscription acme would not be settled: catalog_changed"
        in correct(ledger, 1, "acme-1").err
    )
    ledger.document["subscriptions"] = [subscription | {"id": "other"}]
    assert "The catalog does not have subscription acme" in correct(ledger, 1, "acme-1").err
    assert states(ledger) == before


def test_a_supplement_is_explained(ledger):
    """Cancelled where February begins, with an event of January still to come."""
    ledger.document["subscriptions"][0]["cancelled_at"] = "2026-02-01T00:00:00Z"
    ledger.rate([event("late", 7)])
    ledger.settle(datetime(2026, 2, 3, tzinfo=UTC))
    shown = inside("invoice", "acme-1.1", "--ledger", str(ledger.root), "--json").json()
    assert [(line["line_kind"], line["amount"]) for line in shown["lines"]] == [
        ("proration", "-31"),
        ("adjustment", "0.5"),
    ]
    assert shown["issued_at"].startswith("2026-02-03")
    said = inside("explain", "acme-1.1", "--ledger", str(ledger.root)).out
    assert "Invoiced for that before: 31 on invoice acme-1. The difference stands here: 0 - 31 = -31 USD" in said
    assert "Invoiced for that before: 1.5 on invoice acme-1. The difference stands here: 2 - 1.5 = 0.5 USD" in said


def draft(ledger: Ledger, code: int, name: str, *options: str) -> Ran:
    asked = ("--ledger", str(ledger.root), "--catalog", str(ledger.catalog()))
    done = inside("invoice", name, "--draft", *asked, *options)
    assert done.code == code, done
    return done


def test_a_draft_is_what_the_open_period_comes_to(ledger, tmp_path):
    """Nothing of it is written; its number and id are those of the invoice to come."""
    ledger.rate([event("late", 7)])
    page = tmp_path / "draft.html"
    asked = ("--as-of", "2026-02-03T00:00:00Z", "--json")
    drafted = draft(ledger, 0, "acme", *asked, "--html", str(page)).json()
    assert (drafted["state"], drafted["number"], drafted["total"]) == ("draft", "acme-2", "31.5")
    assert "This is a draft." in page.read_text()
    assert states(ledger) == {"acme-0": "issued", "acme-1": "issued"}
    ledger.settle(datetime(2026, 3, 1, tzinfo=UTC))
    issued = inside("invoice", "acme-2", "--ledger", str(ledger.root), "--json").json()
    left_out = ("state", "certificate")
    assert {key: drafted[key] for key in drafted if key not in left_out} == {
        key: issued[key] for key in issued if key not in left_out
    }
    assert "drafted" in draft(ledger, 0, "acme", "--as-of", "2026-03-03T00:00:00Z").out


def test_no_draft(ledger):
    assert "the catalog does not have subscription nobody" in draft(ledger, 1, "nobody").err.lower()
    assert "a draft cannot be paid" in draft(ledger, 2, "acme", "--paid").err
    assert "is for --draft only" in inside("invoice", "acme-1", "--as-of", "2026-03-03T00:00:00Z").err
    ledger.document["subscriptions"][0]["cancelled_at"] = "2026-02-01T00:00:00Z"
    assert "it is settled to its end" in draft(ledger, 1, "acme").err


def refund(ledger: Ledger, invoice: str, amount: str) -> None:
    issued = "2026-02-05T00:00:00Z"
    ledger.document["refunds"] = [{"id": "r1", "invoice": invoice, "amount": amount, "issued_at": issued}]


def test_a_refund_names_a_draft(ledger):
    drafted = draft(ledger, 0, "acme", "--as-of", "2026-02-03T00:00:00Z", "--json").json()
    refund(ledger, drafted["invoice_id"], "4")
    assert ledger.settle(datetime(2026, 2, 20, tzinfo=UTC)) == {}
    assert ledger.settle(datetime(2026, 3, 1, tzinfo=UTC)) == {}
    shown = inside("invoice", "acme-2", "--ledger", str(ledger.root), "--json").json()
    assert [(line["line_kind"], line["amount"]) for line in shown["lines"]] == [
        ("recurring_fee", "31"),
        ("refund", "-4"),
    ]
    said = inside("explain", "acme-2-2", "--ledger", str(ledger.root)).out
    assert "it stands on that invoice itself, of which it named the draft" in said
    ledger.settle(datetime(2026, 4, 1, tzinfo=UTC))
    assert "refund" not in inside("invoice", "acme-3", "--ledger", str(ledger.root)).out.lower()


def test_a_refund_of_more_than_its_draft_comes_to(ledger):
    drafted = draft(ledger, 0, "acme", "--as-of", "2026-02-03T00:00:00Z", "--json").json()
    refund(ledger, drafted["invoice_id"], "40")
    assert ledger.settle(datetime(2026, 3, 1, tzinfo=UTC)) == {}
    assert inside("invoice", "acme-2", "--ledger", str(ledger.root), "--json").json()["total"] == "31"
    assert ledger.settle(datetime(2026, 4, 1, tzinfo=UTC)) == {"acme": "refund_too_large"}


def test_fees_that_are_given_back_whole_are_explained(ledger):
    product = ledger.document["products"][0]
    product |= {"id": "tried", "free_trial": {"days": 10}, "setup_fee": "20"}
    [subscription] = ledger.document["subscriptions"]
    subscription |= {"id": "late", "product": "tried@1.0.0"}
    ledger.settle(datetime(2026, 1, 11, tzinfo=UTC))
    subscription["cancelled_at"] = "2026-01-08T00:00:00Z"
    ledger.settle(datetime(2026, 1, 12, tzinfo=UTC))
    said = inside("explain", "late-0.1-1", "--ledger", str(ledger.root)).out
    assert "ended within its trial, before it came to pay" in said
    assert "0 - 20 = -20 USD" in said


def test_who_is_gone_and_who_nobody_can_refund_is_named(ledger):
    """Also without a line item, and when nothing is due."""
    refund(ledger, inside("invoice", "acme-1", "--ledger", str(ledger.root), "--json").json()["invoice_id"], "1")
    other = {"id": "other", "product": "p@1.0.0", "subscriber": "joe@acme.example", "start": "2027-01-01T00:00:00Z"}
    ledger.document["subscriptions"] = [other]
    asked = ("--ledger", str(ledger.root), "--catalog", str(ledger.catalog()), "--as-of", "2026-02-02T00:00:00Z")
    told = inside("settle", *asked, "--json")
    assert told.code == 1
    assert told.json()["unknown_subscriptions"] == ["acme"]
    assert told.json()["refunds_of_unknown_invoices"] == ["r1"]
