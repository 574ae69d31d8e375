"""Every kind of line of an invoice is derived to its last digit, down to its line items or to the catalog."""

import json
import re
from decimal import Decimal

import pytest

from rating.explain_fees import amount_text
from rating.explain_invoice import Evidence, explain_invoice_line
from schemas.catalog import Catalog
from schemas.invoices import LineKind
from tests.ops.invoiced import LINES
from tests.ops.ratemill import event, here, query, rated_world, ratemill

SAYS = {
    # The line: what its sentences say, the sentence of its amount last.
    "sub-api-0/1": [
        "as of 2026-11-01T00:00:00Z, when it begins to pay",
        "The setup fee of product api@1.0.0 is 50 USD, paid once per subscription.",
        "Exactly 50 USD; rounded once to 2 digits, half away from zero, that is 50 USD.",
    ],
    "sub-report-0/1": ["The one-time price of product report@1.0.0 is 249 USD, paid once per subscription."],
    "sub-ahead-0/1": ["billed in advance: on the invoice that opens the period.", "The period is paid in whole."],
    "sub-ahead-1/1": ["for settlement period 2, from 2026-12-01T00:00:00Z to 2027-01-01T00:00:00Z, end excluded."],
    "sub-api-1/1": ["The recurring fee of product api@1.0.0 is 20 USD per settlement period, billed in arrears"],
    "sub-api-1/2": [
        "Charge calls sums the element `calls` of the period's events.",
        "tier 1 (above 0, up to and including 100)",
        "It sums 2 line items of 2 events: a quantity of 100, each at unit price 0.1, exactly 10 USD.",
        "The line items are 0-0-0, 0-1-0: see `ratemill explain` for each.",
    ],
    "sub-api-1/3": [
        "It sums 2 line items of 2 events: a quantity of 13, at unit prices from 0.05 to 0.06, exactly 0.68 USD.",
        "The line items are 0-1-1, 0-2-0",
    ],
    "sub-api-1/4": [
        "the flat amount of the tier, due once usage enters it: tier 2 (above 100).",
        "It sums one line item of one event: a quantity of 1, each at unit price 1, exactly 1 USD.",
        "The line item is 0-1-2: see `ratemill explain 0-1-2`.",
    ],
    "sub-api-1/5": [
        "The minimum spend of product api@1.0.0 is 30 USD per settlement period.",
        "sum to 10 + 0.68 + 1 = 11.68 USD; the line lifts them up to the bound: 30 - 11.68 = 18.32.",
    ],
    "sub-bulk-1/1": ["usage up to 5, included and free", "a quantity of 5, each at unit price 0, exactly 0 EUR."],
    "sub-bulk-1/4": ["by the difference in price: tier 2 (above 105).", "a quantity of 55, each at unit price -0.05"],
    "sub-bulk-1/5": [
        "sum to 0 + 5.5 + 3 - 2.75 = 5.75 EUR; the line cuts them down to the bound: 5 - 5.75 = -0.75.",
    ],
    "sub-idle-1/1": [
        "No line item makes it: the price says that its first tier's flat amount is due without usage too.",
        "Exactly 400 JPY; rounded once to whole JPY, half away from zero, that is 400 JPY.",
    ],
    "sub-share-1/1": ["at unit prices from 0 to 0.01, exactly 1 USD."],
    "sub-share-1/2": ["This is the fixed amount of each event"],
    "sub-share-1/3": ["the least amount of events whose share came to less"],
    "sub-share-1/4": ["the greatest amount of events whose share came to more", "each at unit price 5, exactly 5 USD."],
    "sub-tried-1/1": [
        "Of the 2592000 seconds of the period from 2026-11-10T00:00:00Z to 2026-12-10T00:00:00Z, 1382400 are paid:"
        " from 2026-11-24T00:00:00Z (the end of the trial) to 2026-12-10T00:00:00Z.",
        "10 * 1382400 / 2592000 = 5.333333333333333333, to 18 digits.",
        "Exactly 5.333333333333333333 USD; rounded once to 2 digits, half away from zero, that is 5.33 USD.",
    ],
    "sub-tried-1/3": [
        "The minimum spend of charge packs is 12 USD per settlement period.",
        "12 * 1382400 / 2592000 = 6.4, to 2 digits.",
        "6.4 - 5 = 1.4.",
    ],
    "sub-ahead-2/1": [
        "1339200 are paid: from 2026-12-01T00:00:00Z to 2026-12-16T12:00:00Z (the end of the subscription).",
        "31 * 1339200 / 2678400 = 15.5, to 18 digits.",
        "Invoiced for that before: 31 on invoice sub-ahead-1. The difference stands here: 15.5 - 31 = -15.5 USD.",
    ],
    "sub-api-2/2": [
        "It sums 12 line items of 12 events: a quantity of 12, each at unit price 0.1, exactly 1.2 USD.",
        "The first of the line items are 1-2-0, 1-3-0, 1-4-0, 1-5-0, 1-6-0, 1-7-0, 1-8-0, 1-9-0, 1-10-0, 1-11-0; all",
    ],
    "sub-api-2/5": [
        "sum to 10 + 0.68 + 1 + 0.5 = 12.18 USD; the line lifts them up to the bound: 30 - 12.18 = 17.82.",
        "Invoiced for that before: 18.32 on invoice sub-api-1. The difference stands here: 17.82 - 18.32 = -0.5 USD.",
    ],
    "sub-api-2/4": [
        "It sums 3 line items of 3 events: a quantity of 23, at unit prices from 0.05 to 0.06, exactly 1.18 USD.",
        "Invoiced for that before: 0.68 on invoice sub-api-1. The difference stands here: 1.18 - 0.68 = 0.5 USD.",
    ],
    "sub-api-2/6": [
        "Refund outage of 2026-12-05T00:00:00Z gives back 5 USD of invoice",
        "(sub-api-1, over 50 USD)",
        "Its note says: Hours without service.",
        "Exactly -5 USD",
    ],
}
UNSURE = ("now, and this line says", "does not have")


def explained(ledger, name):
    return json.loads(here("explain", name, "--ledger", ledger, "--json"))


@pytest.fixture(scope="module")
def sentences(invoiced):
    """Of every line, by the number of its invoice and its own: its row and its sentences."""
    found = {}
    for invoice in query(invoiced, "SELECT invoice_id, number FROM invoices"):
        for one in explained(invoiced, invoice["invoice_id"])[1:]:
            found[f"{invoice['number']}/{one['row']['line_number']}"] = one
    return found


@pytest.mark.parametrize("name", SAYS)
def test_a_line_is_derived(sentences, name):
    said = " ".join(sentences[name]["sentences"])
    for part in SAYS[name]:
        assert part in said, said


def test_every_kind_of_line_is_among_them(sentences):
    assert {sentences[name]["row"]["line_kind"] for name in SAYS} == {kind.label for kind in LineKind}


def test_every_line_says_its_amounts_and_nothing_differs_from_the_ledger(sentences):
    assert len(sentences) == sum(map(len, LINES.values()))
    for name, one in sentences.items():
        said = " ".join(one["sentences"])
        numbers = set(re.findall(r"-?[0-9]+(?:\.[0-9]+)?", said))
        assert {one["row"]["exact_amount"], one["row"]["amount"]} <= numbers, (name, said)
        assert not any(words in said for words in UNSURE), (name, said)


def test_an_adjustment_is_the_difference_of_two_rounded_amounts(sentences):
    [late] = [
        one
        for name, one in sentences.items()
        if name.startswith("sub-share-2") and one["row"]["exact_amount"] == "2.005"
    ]
    assert (
        "What is owed is rounded once to 2 digits, half away from zero, to 3.01, of which 1 was invoiced:"
        in " ".join(late["sentences"])
    )
    assert "3.01 - 1 = 2.01 USD (exactly 2.005)." in late["sentences"][-2]


def test_all_the_line_items_are_found_by_the_query(sentences, invoiced):
    said = sentences["sub-api-2/2"]["sentences"][-1]
    sql = re.search(r'`ratemill sql "(.*)"`', said)[1]
    assert len(query(invoiced, sql)) == 12


def test_an_invoice_is_the_sum_of_its_lines(invoiced):
    [invoice] = query(invoiced, "SELECT invoice_id FROM invoices WHERE number = 'sub-api-1'")
    whole, *lines = explained(invoiced, invoice["invoice_id"])
    assert whole["kind"] == "invoice"
    assert "Its total is the sum of its rounded lines: 20 + 10 + 0.68 + 1 + 18.32 = 50 USD." in whole["sentences"]
    assert [one["row"]["line_number"] for one in lines] == [1, 2, 3, 4, 5]
    [line] = explained(invoiced, f"{invoice['invoice_id']}-3")
    assert line == lines[2]
    shown = here("explain", f"{invoice['invoice_id']}-3", "--ledger", invoiced)
    assert shown.startswith(f"Invoice line {invoice['invoice_id']}-3\n")


def test_a_line_that_no_invoice_has(invoiced):
    [invoice] = query(invoiced, "SELECT invoice_id FROM invoices WHERE number = 'sub-api-0'")
    for name in (f"{invoice['invoice_id']}-9", "0" * 32):
        ran = ratemill("explain", name, "--ledger", invoiced)
        assert ran.code == 1
        assert name in ran.err
        assert "Traceback" not in ran.err


def test_an_event_whose_id_looks_like_an_invoice_is_still_found(tmp_path):
    ledger = rated_world(tmp_path, [event("a" * 32)])
    assert explained(ledger, "a" * 32)[0]["kind"] == "event"


def test_another_catalog_says_what_it_lacks(invoiced, tmp_path):
    (tmp_path / "c.yaml").write_text("sources: [{id: api}]\n")
    for number, lacks in (("sub-api-1", "does not have product api@1.0.0"), ("sub-api-2", "have refund outage")):
        [invoice] = query(invoiced, f"SELECT invoice_id FROM invoices WHERE number = '{number}'")
        said = here("explain", invoice["invoice_id"], "--ledger", invoiced, "--catalog", tmp_path)
        assert lacks in said


PRODUCT = {
    "id": "p",
    "version": "1.0.0",
    "currency": "USD",
    "settlement_period": "month",
    "payment_model": "subscription",
    "recurring_fee": "12.00",
}
SUBSCRIPTION = {"id": "s", "product": "p@1.0.0", "subscriber": "joe@acme.com", "start": "2026-11-01T00:00:00Z"}
LINE = {
    "line_number": 1,
    "line_kind": "recurring_fee",
    "adjusts": None,
    "description": "Recurring fee",
    "subscription_id": "s",
    "product_id": "p",
    "product_version": "1.0.0",
    "charge_id": None,
    "tier": None,
    "period": 0,
    "period_start": Catalog.model_validate({"subscriptions": [SUBSCRIPTION]}).subscriptions[0].start,
    "period_end": None,
    "currency": "USD",
    "exact_amount": Decimal("10"),
    "amount": Decimal("10"),
    "refund_id": None,
    "refunded_invoice_id": None,
}


def test_a_fee_that_the_catalog_has_otherwise_is_told():
    catalog = Catalog.model_validate({"products": [PRODUCT], "subscriptions": [SUBSCRIPTION]})
    said = explain_invoice_line(LINE | {"period": 1}, Evidence({"number": "s-1"}, None, [], [], None), catalog)
    assert any(text.startswith("That is 12 now, and this line says 10 USD") for text in said)


def test_amounts_keep_all_their_digits():
    assert amount_text(-1) == "-0.000000000000000001"
    assert amount_text(10**37) == "10000000000000000000"
