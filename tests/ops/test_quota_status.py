"""How quotas stand, as analysts read it: the last verdict told, the share used, and when it will be used up."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.settings import Settings
from ops.ledger_views import open_ledger
from ops.query import ask
from ops.rating_run import rate_files

CATALOG = """\
subscribers: [{email: joe@acme.example}]
sources: [{id: api}]
products:
  - id: plan
    version: 1.0.0
    currency: USD
    settlement_period: month
    payment_model: transactional
    rate: "1"
    quotas:
      - {name: tokens, meter: {aggregation: sum, element: tokens}, limit: "100", window: day, on_exceed: overage}
      - {name: calls, limit: "2", window: hour, on_exceed: block}
subscriptions: [{id: acme, product: plan@1.0.0, subscriber: joe@acme.example, start: "2026-03-01T00:00:00Z"}]
"""
COLUMNS = "verdict, usage, remaining, share_used, window_start, projected_exhaustion"


def at(hour: int, minute: int = 0, day: int = 3) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def status(folder: Path, *events: tuple[datetime, str]) -> dict[str, tuple]:
    """Per quota what the view says after these events with their tokens."""
    folder.mkdir()
    (folder / "catalog.yaml").write_text(CATALOG)
    rows = [
        {
            "id": str(number),
            "source": "api",
            "subscription": "acme",
            "time": moment.isoformat(),
            "data": {"tokens": tokens},
        }
        for number, (moment, tokens) in enumerate(events)
    ]
    (folder / "events.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    catalog, ledger = folder / "catalog.yaml", folder / "ledger"
    rate_files(load_catalog(catalog), catalog, [folder / "events.ndjson"], ledger, Settings(), "test")
    with open_ledger(ledger) as connection:
        found = ask(connection, f"SELECT quota, {COLUMNS} FROM quota_status").rows
        kinds = dict(ask(connection, "SELECT column_name, column_type FROM (DESCRIBE quota_status)").rows)
    assert kinds["share_used"] == "DECIMAL(38,4)"
    return {row[0]: tuple(row[1:]) for row in found}


@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([(at(6), "25.5")], ("allowed", 25.5, 74.5, "0.2550", at(0), at(23, 31).replace(second=45))),
        ([(at(6), "20")], ("allowed", 20, 80, "0.2000", at(0), None)),
        ([(at(6), "50"), (at(8), "70")], ("allowed", 120, 0, "1.2000", at(0), None)),
        ([(at(6), "50"), (at(3, day=4), "50")], ("allowed", 50, 50, "0.5000", at(0, day=4), at(6, day=4))),
    ],
)
def test_the_share_used_and_when_it_will_be_all(tmp_path, events, tokens):
    verdict, usage, remaining, share, start, exhaustion = status(tmp_path / "world", *events)["tokens"]
    assert (verdict, usage, remaining, share, start) == (*tokens[:3], Decimal(tokens[3]), tokens[4])
    assert (exhaustion and exhaustion.replace(microsecond=0)) == tokens[5]


def test_what_was_blocked_is_allowed_again_in_the_next_window(tmp_path):
    blocked = status(tmp_path / "blocked", *[(at(9, minute), "1") for minute in range(3)])
    assert blocked["calls"][:3] == ("blocked", 2, 0)
    again = status(tmp_path / "again", *[(at(9, minute), "1") for minute in range(3)], (at(10, 1), "1"))
    assert again["calls"][:3] == ("allowed", 1, 1)
