"""What `explain` says of a flat amount that is due though the period's own lines of it cancel each other out."""

import json
from datetime import UTC, datetime

from tests.cases.notation import Record
from tests.ops.ratemill import inside
from tests.settlement.settling import Ledger
from tests.settlement.world import one_subscription

_SEATS = {
    "id": "seats",
    "meter": {"aggregation": "latest", "element": "n"},
    "price": {
        "model": "graduated",
        "flat_at_zero": True,
        "tiers": [{"up_to": "10", "unit_price": "1", "flat_amount": "3"}, {"unit_price": "2"}],
    },
}


def test_a_flat_amount_at_zero_beside_lines_that_cancel_each_other_out(tmp_path):
    ledger = Ledger(tmp_path, one_subscription(charges=[_SEATS]))
    for day, seats in ((3, 5), (9, 0)):
        time = f"2026-01-{day:02}T00:00:00Z"
        event = {"id": f"e{day}", "source": "api", "subscription": "acme", "time": time, "data": {"n": seats}}
        ledger.rate([Record("seats", 0, json.dumps(event).encode(), None, None)])
    ledger.settle(datetime(2026, 2, 1, tzinfo=UTC))
    shown = inside("invoice", "acme-1", "--ledger", str(ledger.root), "--json").json()
    flat = next(line for line in shown["lines"] if line["line_kind"] == "tier_flat")
    assert (shown["total"], flat["amount"]) == ("3", "3")
    said = inside("explain", flat["invoice_line_id"], "--ledger", str(ledger.root)).out
    assert "no usage beyond what is included" in " ".join(said.split())
    assert "and this line says" not in said
