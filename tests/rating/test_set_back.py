"""What sets back a verdict that blocks: the end of its window, an event of a later one, a catalog that makes room."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from rating.catalog import CompiledCatalog, compile_catalog
from rating.periods import microseconds
from rating.set_back import BlockedQuotas
from schemas.catalog import Catalog
from schemas.ledger import QUOTA_VERDICTS, polars_schema

NINE, TEN, ELEVEN = (datetime(2026, 1, 15, hour, tzinfo=UTC) for hour in (9, 10, 11))


def verdict(verdict: str, start: datetime = NINE, end: datetime | None = TEN, **more: Any) -> dict[str, Any]:
    row = dict.fromkeys(QUOTA_VERDICTS.names, "x") | {"verdict": verdict, "cause": "usage", "on_exceed": "block"}
    numbers = {"limit": Decimal(10), "usage": Decimal(10), "remaining": Decimal(0), "partition": 3, "offset": 7}
    names = {"subscription_id": "acme", "quota": "calls", "product_id": "plan", "product_version": "1.0.0"}
    times = {"window_start": start, "window_end": end, "occurred_at": start, "told_at": start, "synthetic": False}
    return row | numbers | names | times | more


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=polars_schema(QUOTA_VERDICTS))


def said(rows: pl.DataFrame) -> list[tuple[str, str, datetime]]:
    return list(zip(rows["verdict"], rows["cause"], rows["window_start"], strict=True))


def test_the_end_of_the_window_sets_back_once():
    blocked = BlockedQuotas()
    blocked.take(frame(verdict("blocked")))
    assert blocked.set_back(3, microseconds(TEN) - 1).is_empty()
    assert blocked.set_back(2, microseconds(ELEVEN)).is_empty(), "another input says nothing of this one"
    found = blocked.set_back(3, microseconds(TEN))
    assert said(found) == [("allowed", "window_end", TEN)]
    assert found.select("remaining", "usage", "offset", "window_end").row(0) == (Decimal(10), Decimal(0), None, None)
    assert blocked.set_back(3, microseconds(ELEVEN)).is_empty()


def test_a_verdict_of_a_later_window_comes_after_the_one_that_sets_back():
    blocked = BlockedQuotas()
    rows = blocked.take(frame(verdict("blocked"), verdict("allowed", TEN, ELEVEN, usage=Decimal(1))))
    assert said(rows) == [("blocked", "usage", NINE), ("allowed", "window_end", TEN), ("allowed", "usage", TEN)]
    rows = blocked.take(frame(verdict("blocked", TEN, ELEVEN)))
    assert said(rows) == [("blocked", "usage", TEN)]
    assert said(blocked.set_back(3, microseconds(ELEVEN))) == [("allowed", "window_end", ELEVEN)]


def test_a_verdict_of_an_earlier_window_does_not_free_the_later_one():
    blocked = BlockedQuotas()
    blocked.take(frame(verdict("blocked", TEN, ELEVEN)))
    assert blocked.take(frame(verdict("allowed", NINE, TEN, usage=Decimal(5)))).is_empty()
    rows = blocked.take(frame(verdict("allowed", NINE, TEN), verdict("allowed", TEN, ELEVEN, usage=Decimal(6))))
    assert said(rows) == [("allowed", "usage", TEN)]


def test_usage_that_fell_below_the_limit_needs_no_setting_back():
    blocked = BlockedQuotas()
    rows = frame(verdict("blocked"), verdict("allowed", usage=Decimal(6), remaining=Decimal(4)))
    assert blocked.take(rows).equals(rows)
    assert blocked.set_back(3, microseconds(ELEVEN)).is_empty()
    blocked.take(frame(verdict("blocked")))
    assert len(blocked.set_back(3, microseconds(TEN))) == 1


def test_a_window_without_an_end_stays_blocked():
    blocked = BlockedQuotas()
    blocked.take(frame(verdict("blocked", end=None)))
    assert blocked.set_back(3, microseconds(ELEVEN)).is_empty()


def test_what_was_told_is_all_that_is_needed_to_go_on():
    told = BlockedQuotas()
    rows = [told.take(frame(verdict("blocked"), verdict("blocked", quota="tokens", partition=4)))]
    rows.append(told.set_back(3, microseconds(TEN)))
    again = BlockedQuotas.after(pl.concat(rows))
    assert again.set_back(3, microseconds(ELEVEN)).is_empty()
    assert again.set_back(4, microseconds(ELEVEN))["quota"].to_list() == ["tokens"]


@pytest.mark.parametrize(
    ("change", "remaining"),
    [
        ({"limit": "12"}, 2),
        ({"on_exceed": "overage"}, 0),
        ({"name": "others"}, 0),
        ({"limit": "10"}, None),
        ({"limit": "9"}, None),
    ],
    ids=str,
)
def test_a_catalog_that_makes_room_lets_through_again(change: dict[str, str], remaining: int | None):
    blocked = BlockedQuotas()
    blocked.take(frame(verdict("blocked")))
    found = blocked.under(catalog(**change), {3: microseconds(TEN) - 1})
    assert found["remaining"].to_list() == ([] if remaining is None else [remaining])
    assert found["cause"].to_list() == ["catalog"] * len(found)
    assert len(blocked.set_back(3, microseconds(TEN))) == (1 if remaining is None else 0)


def test_a_subscription_that_is_gone_or_pins_another_version_is_let_through():
    for missing in (catalog(subscription="other"), catalog(version="2.0.0")):
        blocked = BlockedQuotas()
        blocked.take(frame(verdict("blocked")))
        assert said(blocked.under(missing, {})) == [("allowed", "catalog", NINE)]


def catalog(subscription: str = "acme", version: str = "1.0.0", **change: str) -> CompiledCatalog:
    quota = {"name": "calls", "limit": "10", "on_exceed": "block"} | change
    product = {"id": "plan", "version": version, "currency": "USD", "settlement_period": "month", "quotas": [quota]}
    start = {"subscriber": "joe@x.example", "start": "2026-01-01T00:00:00Z"}
    subscribed = {"id": subscription, "product": f"plan@{version}"} | start
    return compile_catalog(Catalog.model_validate({"products": [product], "subscriptions": [subscribed]}))
