"""Quotas that share a charge's counter tell, cut and block as with counters of their own, whatever catalog follows."""

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import charges, wide
from rating.catalog import CompiledCatalog, compile_catalog
from rating.engine import GroupState, RatingSettings
from schemas.catalog import Catalog
from tests.cases.core import Core, RawRecord, batches
from tests.laws.profile import law
from tests.laws.worlds import Limits, shown, world

TABLES = ("events", "lines", "notifications", "quota_verdicts")
TOKENS = {"aggregation": "sum", "element": "tokens"}
Version = tuple[CompiledCatalog, Sequence[RawRecord]]


def document(quotas: Sequence[dict[str, Any]], rules: Sequence[dict[str, Any]] = (), **more: Any) -> dict[str, Any]:
    price = {"model": "per_unit", "unit_price": "1"}
    product = {
        "id": "p",
        "version": "1.0.0",
        "currency": "USD",
        "settlement_period": "month",
        "charges": [{"id": "tokens", "meter": TOKENS, "price": price}],
        "quotas": [{"name": f"q{number}", **quota} for number, quota in enumerate(quotas)],
        "pricing_rules": [rule["id"] for rule in rules],
        **more,
    }
    return {
        "subscribers": [{"email": "joe@acme.com"}],
        "products": [product],
        "pricing_rules": list(rules),
        "subscriptions": [
            {"id": "acme", "product": "p@1.0.0", "subscriber": "joe@acme.com", "start": "2026-01-01T00:00:00Z"}
        ],
    }


def compiled(written: dict[str, Any], *, sharing: bool = True) -> CompiledCatalog:
    with pytest.MonkeyPatch.context() as patch:
        if not sharing:
            patch.setattr(charges, "_counters", lambda metered, same: np.arange(len(metered)))
        return compile_catalog(Catalog.model_validate(written))


def event(number: int, tokens: int, day: int = 2, **data: Any) -> RawRecord:
    said = ", ".join(f'"{name}": "{value}"' for name, value in data.items())
    raw = (
        f'{{"id": "{number}", "source": "a", "subscription": "acme", "time": "2026-01-{day:02}T00:00:00Z", '
        f'"data": {{"tokens": {tokens}{", " if said else ""}{said}}}}}'
    )
    return 0, raw.encode(), None


def rated(versions: Sequence[Version], *, size: int = 50, through_bytes: bool = False) -> Core:
    """The records of each version under its catalog, one after another."""
    core = Core(versions[0][0], RatingSettings(key_groups=4), through_bytes)
    offsets: dict[int, int] = {}
    for catalog, records in versions:
        core.groups = {number: group.under(core.catalog, catalog) for number, group in core.groups.items()}
        core.catalog = catalog
        for partition, first, batch in batches(records, iter(lambda: size, 0)):
            core.take((partition, offsets.get(partition, 0) + first, batch))
        for partition, _, _ in records:
            offsets[partition] = offsets.get(partition, 0) + 1
    return core


def rows(core: Core) -> dict[str, pl.DataFrame]:
    return {table: pl.concat(getattr(core, table)) for table in TABLES}


def counters(core: Core) -> int:
    return sum(group.counters.held for group in core.groups.values())


def unlike(steps: Sequence[tuple[dict[str, Any], Sequence[RawRecord]]], **how: Any) -> list[str]:
    """The tables that differ from those of a rating in which every quota has a counter of its own."""
    shared = rows(rated([(compiled(written), records) for written, records in steps], **how))
    alone = rows(rated([(compiled(written, sharing=False), records) for written, records in steps], **how))
    return [table for table in TABLES if not shared[table].equals(alone[table])]


@pytest.mark.parametrize(
    "quota, more, shares",
    [
        ({"meter": TOKENS}, {}, True),
        ({"meter": TOKENS, "window": "day"}, {}, False),
        ({}, {}, False),
        ({"meter": {"aggregation": "sum", "element": "calls"}}, {}, False),
        ({"meter": TOKENS | {"where": "tokens > 1"}}, {}, False),
        ({"meter": TOKENS | {"allow_negative": True}}, {}, False),
        ({"meter": {"aggregation": "max", "element": "tokens"}}, {}, False),
        ({"meter": TOKENS}, {"rules": [{"id": "r", "multiplier": "2"}]}, False),
        ({"meter": TOKENS}, {"rules": [{"id": "r", "where": "tokens > 1"}]}, False),
        ({}, {"payment_model": "transactional", "rate": "1"}, True),
    ],
)
def test_which_quotas_share(quota: dict[str, Any], more: dict[str, Any], shares: bool):
    catalog = compiled(document([{"limit": "10", "on_exceed": "overage", **quota}], **more))
    assert catalog.charges.has_shared_counters is shares
    core = rated([(catalog, [event(1, 5, calls="1")])])
    assert counters(core) == len(catalog.charges.ids) - shares


def test_the_order_of_charges_decides_nothing():
    price = {"model": "per_unit", "unit_price": "1"}
    both = [{"id": name, "meter": TOKENS, "price": price} for name in ("b", "a")]
    for listed in (both, both[::-1]):
        catalog = compiled(document([{"limit": "10", "on_exceed": "block", "meter": TOKENS}], charges=listed))
        assert catalog.charges.ids[catalog.charges.counter[2]] == "a"


SEVERAL = [
    {"limit": "2", "on_exceed": "block"},
    {"limit": "90", "on_exceed": "block", "meter": TOKENS},
    {"limit": "60", "on_exceed": "overage", "meter": TOKENS, "notify_at": ["0.5", "1.5"]},
    {"limit": "40", "on_exceed": "block", "meter": TOKENS, "window": "week"},
]
USED = [event(1, 50), event(2, 30, 10), event(3, 30, 10), event(4, 30, 20), event(5, 1, 20)]


@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("through_bytes", [False, True])
@pytest.mark.parametrize("trial", [{}, {"free_trial": {"days": 9}}])
def test_several_quotas_of_one_counter(size: int, through_bytes: bool, trial: dict[str, Any]):
    tiers = [{"up_to": "30", "unit_price": "1"}, {"unit_price": "2"}]
    charge = {"id": "tokens", "meter": TOKENS, "price": {"model": "graduated", "tiers": tiers}}
    for quotas in (SEVERAL, SEVERAL[::-1], SEVERAL[1:3]):
        written = document(quotas, charges=[charge], notification_threshold="0.5", **trial)
        assert unlike([(written, USED)], size=size, through_bytes=through_bytes) == []


@pytest.mark.parametrize("calls_first", [False, True])
def test_of_several_that_are_used_up_the_first_listed_is_named(calls_first: bool):
    both = [{"limit": "80", "on_exceed": "block", "meter": TOKENS}, {"limit": "2", "on_exceed": "block"}]
    written = document(both[::-1] if calls_first else both)
    records = [event(1, 50), event(2, 30), event(3, 30)]
    assert unlike([(written, records)]) == []
    said = rows(rated([(compiled(written), records)]))["events"]["reason_detail"].to_list()
    assert said[:2] == [None, None]
    assert said[2].startswith("quota 'q0' is used up")


EU = {"id": "eu", "where": "region = 'eu'"}
BLOCKING = [{"limit": "100", "on_exceed": "block", "meter": TOKENS, "notify_at": ["0.5"]}]
OTHER = [*BLOCKING, {"limit": "50", "on_exceed": "overage", "meter": TOKENS}]


@pytest.mark.parametrize("through_bytes", [False, True])
@pytest.mark.parametrize("quotas", [BLOCKING, OTHER])
@pytest.mark.parametrize("first, then", [([EU], []), ([], [EU])])
def test_what_a_quota_has_counted_stays(first: Any, then: Any, quotas: Any, through_bytes: bool):
    """A charge that meets the meter of the quotas from now on, or no longer; and back again."""
    here, there = document(quotas, first), document(quotas, then)
    steps = [
        (here, [event(1, 40, region="us"), event(2, 10, region="eu")]),
        (there, [event(3, 30, region="eu"), event(4, 5, region="us")]),
        (here, [event(5, 5, region="eu")]),
        (there, [event(6, 40, region="eu"), event(7, 1, region="us")]),
    ]
    assert unlike(steps, through_bytes=through_bytes) == []
    assert "blocked" in rows(rated([(compiled(written), records) for written, records in steps]))["events"]["verdict"]


def test_the_state_before_quotas_shared_counters_is_taken_over():
    written = document(OTHER)
    old, new = compiled(written, sharing=False), compiled(written)
    core = rated([(old, [event(1, 40)])])
    assert counters(core) == 3
    core = rated([(old, [event(1, 40)]), (new, [event(2, 50)])])
    assert counters(core) == 1
    assert not any(len(group.apart) for group in core.groups.values())
    core = rated([(old, [event(1, 40)]), (new, [event(2, 50)]), (old, [event(3, 20)])])
    assert rows(core)["quota_verdicts"]["usage"].to_list()[-1] == 100


def test_a_snapshot_of_the_first_version_is_read():
    """It does not say who shares: nobody did."""
    written = document(OTHER)
    old, new = compiled(written, sharing=False), compiled(written)
    (group,) = rated([(old, [event(1, 40)])]).groups.values()
    stored = msgspec.msgpack.decode(group.snapshot(old))
    state = GroupState.load(msgspec.msgpack.encode([1, *stored[1:-1]]), new)
    assert wide.to_integers(state.counters.usage) == [40 * 10**6]
    assert not len(state.apart)


def test_a_quota_that_is_added_counts_what_its_charge_has_counted():
    core = rated([(compiled(document([])), [event(1, 40)]), (compiled(document(BLOCKING)), [event(2, 70)])])
    assert rows(core)["quota_verdicts"]["usage"].to_list() == [100]


@law(40)
@given(st.randoms(use_true_random=False))
def test_any_rows_are_those_of_quotas_with_counters_of_their_own(random: Random):
    """Under catalogs between which meters and rules change at will, and back; of all but distinct values."""
    generated = world(random, Limits(records=60, huge=False))
    one = counted_instead_of_distinct(generated.document)
    other = changed(random, one)
    parts = np.array_split(np.arange(len(generated.records)), 4)
    steps = [
        (written, [generated.records[row] for row in part.tolist()])
        for written, part in zip((one, other, one, other), parts, strict=True)
    ]
    differing = unlike(steps, size=random.choice((1, 7, 50)), through_bytes=random.random() < 0.3)
    assert differing == [], f"{shown(generated)}\n{other}"


def counted_instead_of_distinct(written: dict[str, Any]) -> dict[str, Any]:
    return written | {"products": [_each_meter(product, _counted) for product in written["products"]]}


def _each_meter(product: dict[str, Any], change: Any) -> dict[str, Any]:
    both = {
        key: [one | {"meter": change(one["meter"])} for one in product.get(key, [])] for key in ("charges", "quotas")
    }
    return product | both


def _counted(meter: dict[str, Any]) -> dict[str, Any]:
    return {"aggregation": "count"} if meter["aggregation"] == "unique" else meter


def changed(random: Random, written: dict[str, Any]) -> dict[str, Any]:
    """Of each product's charges some meter something else, and some of its rules are gone."""
    products = []
    for product in written["products"]:
        meters = [one["meter"] for key in ("charges", "quotas") for one in product.get(key, [])]
        charges_ = [
            one | {"meter": random.choice(meters)} if random.random() < 0.5 else one for one in product["charges"]
        ]
        rules = [rule for rule in product["pricing_rules"] if random.random() < 0.5]
        products.append(product | {"charges": charges_, "pricing_rules": rules})
    return written | {"products": products}
