"""Counters of windows that no event can come into any more are let go, and nobody can tell."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest

from rating import state
from rating.catalog import CompiledCatalog, compile_catalog
from rating.ended import ended_windows
from rating.engine import RatingSettings
from rating.pairs import TRIAL_WINDOWS, counter_keys
from rating.periods import microseconds
from schemas.catalog import Catalog
from tests.cases.core import Core, RawRecord, batches

HOUR, DAY = 3_600_000_000, 86_400_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("acme", "beta", "gama")


def compiled(*quotas: dict[str, Any], **more: Any) -> CompiledCatalog:
    price = {"model": "per_unit", "unit_price": "1"}
    product = {
        "id": "p",
        "version": "1.0.0",
        "currency": "USD",
        "settlement_period": "month",
        "charges": [{"id": "calls", "meter": {"aggregation": "count"}, "price": price}],
        "quotas": [{"name": f"q{number}", **quota} for number, quota in enumerate(quotas)],
        **more,
    }
    begins = {"product": "p@1.0.0", "subscriber": "joe@acme.com", "start": "2026-01-01T00:00:00Z"}
    document = {
        "subscribers": [{"email": "joe@acme.com"}],
        "products": [product],
        "subscriptions": [{"id": name, **begins} for name in NAMES],
    }
    return compile_catalog(Catalog.model_validate(document))


PER_MINUTE = {"limit": "2", "on_exceed": "block", "window": "minute"}
PER_DAY = {"limit": "100", "on_exceed": "overage", "window": "day", "notify_at": ["0.5"]}


def record(number: int, after: timedelta, *, behind: timedelta = timedelta(0), partition: int = 0) -> RawRecord:
    """An event that is logged so long after the start, and whose own time lies behind that."""
    time = (START + after - behind).isoformat().replace("+00:00", "Z")
    raw = f'{{"id": "{number}", "source": "a", "subscription": "{NAMES[number % 3]}", "time": "{time}"}}'
    return partition, raw.encode(), START + after


def traffic(minutes: int, lanes: int = 1) -> list[RawRecord]:
    """Three events a minute; every tenth is up to an hour behind its record."""
    random = Random(7)
    return [
        record(
            number,
            timedelta(hours=1, minutes=number // 3, seconds=number % 3),
            behind=timedelta(seconds=random.randint(0, 3600) if number % 10 == 0 else 0),
            partition=number // 50 % lanes,
        )
        for number in range(3 * minutes)
    ]


def rated(
    catalog: CompiledCatalog, records: list[RawRecord], lateness: int | None, through_bytes: bool = False
) -> tuple[Core, int]:
    """What became of the records, and the most counters that were held at any time."""
    core, most = Core(catalog, RatingSettings(key_groups=1, lateness=lateness), through_bytes), 0
    for batch in batches(records, iter(lambda: 60, 0)):
        core.take(batch)
        most = max(most, sum(group.counters.held for group in core.groups.values()))
    return core, most


def rows(core: Core) -> list[pl.DataFrame]:
    return [pl.concat(table) for table in (core.events, core.lines, core.notifications, core.quota_verdicts)]


def same(core: Core, other: Core) -> bool:
    return all(one.equals(two) for one, two in zip(rows(core), rows(other), strict=True))


@pytest.fixture
def nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "ended_windows", lambda keys, moment, catalog: np.zeros(len(keys), np.bool_))


@pytest.mark.parametrize("minutes", [600, 1200])
def test_the_counters_of_many_windows_are_bounded(minutes: int):
    catalog = compiled(PER_MINUTE, PER_DAY)
    _, most = rated(catalog, traffic(minutes), HOUR)
    # Of an hour of lateness and two buckets of an hour, by the minute; charges and days apart.
    assert 3 * 60 < most <= 3 * (3 * 60 + 1 + 3)


def test_without_a_lateness_all_are_kept():
    records = [record(number, timedelta(minutes=number // 3)) for number in range(900)]
    _, most = rated(compiled(PER_MINUTE), records, None)
    assert most == 900 + 3


@pytest.mark.parametrize(
    "window, started", [("minute", "10:29"), ("hour", "10:00"), ({"unit": "minute", "count": 7}, "10:27")]
)
@pytest.mark.parametrize("on_trial", [False, True])
def test_a_window_goes_at_its_end_and_not_before(window: Any, started: str, on_trial: bool):
    catalog = compiled(PER_MINUTE | {"window": window})
    begins = microseconds(datetime.fromisoformat(f"2026-01-02T{started}Z"))
    (number,), _, (ends,) = catalog.charges.windows.periods_of(np.array([0]), np.array([begins]))
    of_quota, of_charge = np.array([1, 0])
    period = np.array([number + TRIAL_WINDOWS * on_trial, 3])
    keys = counter_keys(catalog, np.array([2, 2]), np.array([of_quota, of_charge]), period)
    for moment, gone in ((begins, False), (ends - 1, False), (ends, True), (ends + 90 * DAY, True)):
        assert ended_windows(keys, moment, catalog).tolist() == [gone, False]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("through_bytes", [False, True])
@pytest.mark.parametrize("trial", [{}, {"free_trial": {"days": 1}}])
def test_no_row_differs(request: pytest.FixtureRequest, lanes: int, through_bytes: bool, trial: dict[str, Any]):
    catalog, records = compiled(PER_MINUTE, PER_DAY, **trial), traffic(300 if through_bytes else 1700, lanes)
    core, most = rated(catalog, records, HOUR, through_bytes)
    request.getfixturevalue("nothing_ends")
    kept, all_of_them = rated(catalog, records, HOUR, through_bytes)
    assert most < all_of_them
    assert same(core, kept)
    assert {"rated" if not trial else "trial", "blocked"} <= set(rows(core)[0]["verdict"])


@pytest.mark.parametrize("behind, verdict", [(timedelta(hours=23, minutes=59), "blocked"), (timedelta(days=2), "late")])
def test_an_event_within_the_lateness_finds_the_counter_of_its_window(behind: timedelta, verdict: str):
    first = [record(number, timedelta(days=5)) for number in (0, 3)]
    since = [record(1 + 3 * number, timedelta(days=5, minutes=10 * number)) for number in range(1, 144)]
    late = record(999, timedelta(days=5) + behind, behind=behind)
    core, _ = rated(compiled(PER_MINUTE), [*first, *since, late], DAY)
    assert rows(core)[0].sort("offset")["verdict"].to_list()[-1] == verdict


def test_a_window_stays_while_one_lane_lies_behind():
    """And ends with its progress, though no event comes from it."""
    core = Core(compiled(PER_MINUTE), RatingSettings(key_groups=1, lateness=HOUR))
    core.take((0, 0, [record(0, timedelta(hours=2))]))
    (group,) = core.groups.values()
    group.duplicates.expect([0, 1])
    for hour in range(3, 9):
        core.take((0, hour, [record(3 * hour, timedelta(hours=hour))]))
    assert group.counters.held == 1 + 7
    group.duplicates.advance(1, int((START + timedelta(hours=7)).timestamp()) * 1_000_000)
    core.take((0, 9, [record(30, timedelta(hours=9))]))
    # Those of 6 to 9 hours.
    assert group.counters.held == 1 + 4
