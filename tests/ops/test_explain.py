"""Every number of a line stands in a sentence, and every verdict says what to do."""

import json
import re

import pytest

from rating.remedies import meaning_of
from schemas.verdicts import Reason, Verdict
from tests.ops.ratemill import here, query, ratemill, succeed


def explained(ledger, name):
    return json.loads(here("explain", name, "--ledger", ledger, "--json"))


def text(ledger, name):
    return here("explain", name, "--ledger", ledger)


def test_every_number_of_every_line_stands_in_its_sentences(ledger):
    lines = query(ledger, "SELECT * FROM line_items ORDER BY line_id")
    assert len(lines) > 12
    for line in lines:
        [found] = explained(ledger, line["line_id"])
        said = " ".join(found["sentences"])
        numbers = set(re.findall(r"-?[0-9]+(?:\.[0-9]+)?", said))
        for column in ("quantity", "usage_before", "usage_after", "unit_price", "amount"):
            assert line[column] in numbers, (line["line_id"], column, said)
        for column in ("subscription_id", "charge_id", "currency", "event_id", "source", "period_start"):
            assert line[column] in said, (line["line_id"], column, said)


SAYS = {
    "api/e2": ["tier 1 (above 0, up to and including 100)", "tier 2 (above 100)", "10 * unit price 0.1 = 1 USD"],
    "api/e3": ["key-calls belongs to that subscription", "eu by `1.2` where `region = 'eu'`", "0.05 becomes 0.06"],
    "api/e4": ["key-found is not in the catalog", "2.5"],
    "api/b2": ["The total lies in tier 2 (above 105)", "instead of 0.1", "-0.05", "= -2.75 EUR"],
    "api/b1": ["Usage up to 5 is included and free", "tier 1 (above 5, up to and including 105)"],
    "payments/s1": ["fixed amount 0.3", "each unit of it costs 0.01", "no settlement period"],
    "payments/s2": ["less than the least amount per event", "0.5"],
    "payments/s3": ["exempt", "no_charge"],
    "api/t1": ["free trial", "first 14 days"],
    "api/t2": ["Every started package of 100 costs 5", "starts 1"],
    "api/f1": ["exempt_by_filter", "status 500"],
    "elsewhere/x1": ["source_not_in_product"],
    "api/old": ["blocked", "not_active"],
    "api/p1": ["parked", "unknown_subscription", "ratemill reinject"],
    "api/p2": ["unknown_credential", "ratemill reinject"],
    "api/p3": ["ambiguous_subscriber"],
    "api/r1": ["rejected", "bad_quantity", "Send a corrected event"],
    "api/r2": ["bad_time", "yesterday"],
    "r1": ["api/r1"],
    "0-21": ["malformed_json", "Send a corrected event"],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_event_is_explained(ledger, name):
    said = text(ledger, name)
    for part in SAYS[name]:
        assert part in said, said


def test_a_duplicate_names_the_first_one(ledger):
    said = text(ledger, "0-2")
    assert "The first one is record 1 of input 0" in said
    assert "with the same data" in said
    assert "a conflict" in text(ledger, "0-3")


def test_an_id_that_nothing_has(ledger):
    ran = ratemill("explain", "api/none", "--ledger", ledger)
    assert ran.code == 1
    assert "api/none" in ran.err


def test_another_catalog_may_be_named(ledger, tmp_path):
    (tmp_path / "c.yaml").write_text("sources: [{id: api}]\n")
    said = succeed("explain", "api/e1", "--ledger", ledger, "--catalog", tmp_path).out
    assert "The given catalog does not have subscription sub-calls" in said


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_meaning_and_a_remedy(reason):
    because, remedy = meaning_of("rejected", reason.value)
    assert reason.value in because
    assert remedy is not None
    assert remedy.endswith(".")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_has_a_meaning(verdict):
    because, remedy = meaning_of(verdict.label, None)
    assert because.startswith(f"Its verdict is {verdict.label}: ")
    assert remedy is None
