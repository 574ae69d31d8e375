"""Random worlds: a catalog and the records of its customers, biased to the edges where rating goes wrong.

Everything is chosen through a `random.Random`: a seeded one for long runs, Hypothesis's for runs that shrink.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from schemas.catalog import Catalog
from tests.laws.records import bad_record, event_record

MODELS = ("per_unit", "graduated", "graduated", "volume", "volume", "stairstep", "package", "percentage")
METERS = ("count", "sum", "sum", "max", "latest", "unique", "average")
UNITS = ("day", "week", "month", "quarter", "year", "none", "5min")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
PRICES = ("0", "1", "0.10", "0.05", "0.0000015", "0.000000000001", "0.333333333333", "123.456789012345", "1000000")
BOUNDS = ("0.5", "1", "2", "3", "10", "99.999999", "100", "250", "1000000")
WHERES = (
    "region = 'eu'",
    "status < 500",
    "region = 'eu' AND status < 500",
    "NOT region = 'us'",
    "region IN ('eu', 'us') OR vip = 1",
    "x BETWEEN 1 AND 100",
    "x IS NOT NULL",
    "region LIKE 'e%'",
    "x + y > 3",
    "lower(region) = 'eu'",
)
FORMULAS = (
    "x + 4 * y",
    "x * 0.001",
    "greatest(x, coalesce(y, 3))",
    "CASE WHEN region = 'eu' THEN 2 * x ELSE x END",
    "round(x * 0.1, 2)",
    "x - y",
    "abs(y) + 1",
)
MULTIPLIERS = ("1.2", "0.5", "2", "0", "0.333333", "1 + y * 0.1", "CASE WHEN vip = 1 THEN 0.5 ELSE 1 END")


@dataclass(frozen=True)
class World:
    """A catalog document, its models, the records (partition, bytes, record time) and how they are read."""

    document: dict[str, Any]
    catalog: Catalog
    records: list[tuple[int, bytes, datetime | None]]
    lateness: timedelta | None
    skew: timedelta | None


@dataclass(frozen=True)
class Limits:
    """What a world may hold; a law that does not hold for everything asks for less."""

    records: int = 40
    lanes: int = 3
    multipliers: bool = True
    per_event_amounts: bool = True
    bad: bool = True
    windows: bool = True
    huge: bool = True
    test_modes: bool = True
    quotas: bool = True
    blocking: bool = True


def world(rng: Random, limits: Limits = Limits()) -> World:
    """A catalog of one to three products and the records sent under it."""
    document = _document(rng, limits)
    lateness = rng.choice((*[None] * 8, timedelta(hours=1), timedelta(days=40))) if limits.windows else None
    is_logged = limits.windows and rng.random() < 0.15
    lanes = 1 if lateness else rng.randint(1, limits.lanes)
    records = []
    for serial in range(rng.randint(1, limits.records)):
        subscription = rng.choice(document["subscriptions"])
        time = _time(rng, document, subscription)
        raw = bad_record(rng, subscription, time) if limits.bad and rng.random() < 0.08 else None
        raw = raw or event_record(rng, document, subscription, time, serial, limits.bad, limits.huge)
        logged = time + rng.choice((timedelta(0), timedelta(minutes=-5), timedelta(hours=2))) if is_logged else None
        records.append((rng.randrange(lanes), raw, logged))
    return World(document, Catalog.model_validate(document), records, lateness, timedelta(minutes=5))


def _document(rng: Random, limits: Limits) -> dict[str, Any]:
    rules = [_rule(rng, number, limits) for number in range(rng.randint(0, 3))]
    products = [_product(rng, number, rules, limits) for number in range(rng.randint(1, 3))]
    zones = [{"id": f"org{number}", "timezone": rng.choice(ZONES)} for number in range(2)]
    people = [{"email": f"p{number}@x.example"} for number in range(3)]
    subscriptions = [_subscription(rng, number, products) for number in range(rng.choice((1, 1, 2, 3, 5)))]
    credentials = [
        {"id": f"key{number}", "subscription": rng.choice(subscriptions)["id"]} for number in range(rng.randint(0, 2))
    ]
    return {
        "organizations": zones,
        "subscribers": people,
        "sources": [{"id": source} for source in ("a", "b")],
        "products": products,
        "pricing_rules": rules,
        "subscriptions": subscriptions,
        "credentials": credentials,
    }


def _rule(rng: Random, number: int, limits: Limits) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": f"rule{number}"}
    if rng.random() < 0.7:
        rule["where"] = rng.choice(WHERES)
    if limits.multipliers and rng.random() < 0.6:
        rule["multiplier"] = rng.choice(MULTIPLIERS)
    elif rng.random() < 0.4 or "where" not in rule:
        rule["quantity"] = rng.choice(FORMULAS)
    return rule


def _product(rng: Random, number: int, rules: list[dict[str, Any]], limits: Limits) -> dict[str, Any]:
    own_rules = [rule for rule in rules if rng.random() < 0.25]
    packaged = all("multiplier" not in rule for rule in own_rules)
    unit = rng.choice(UNITS if limits.test_modes else UNITS[:-1])
    counted = unit not in ("none", "5min") and rng.random() < 0.3
    product: dict[str, Any] = {
        "id": f"product{number}",
        "version": "1.0.0",
        "currency": "USD",
        "settlement_period": {"unit": unit, "count": rng.randint(1, 4)} if counted else unit,
        "charges": [_charge(rng, index, limits, packaged) for index in range(rng.randint(1, 3))],
        "pricing_rules": [rule["id"] for rule in own_rules],
        "sources": rng.choice(([], [], [], [], ["a"], ["a", "b"])),
        "immediate_cancellation": rng.random() < 0.5,
    }
    if limits.windows and rng.random() < 0.1:
        product["free_trial"] = {"days": rng.choice((1, 14))}
    if limits.quotas and rng.random() < 0.5:
        product["quotas"] = [_quota(rng, index, limits, product["charges"]) for index in range(rng.randint(1, 3))]
        product["notification_threshold"] = rng.choice((None, "0", "0.5", "0.333333", "1"))
        product["provider_notification_addresses"] = rng.choice(([], ["a@x.example"], ["a@x.example", "b@x.example"]))
    if rng.random() < 0.3:
        product["exempt_where"] = rng.choice((None, "x > 100", "region = 'us'"))
    return product


def _quota(rng: Random, number: int, limits: Limits, charges: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a small limit, so that it is reached; one that blocks meters what can be cut. Half meter what charges do."""
    charged = rng.choice(charges)["meter"] if rng.random() < 0.5 else None
    can_be_cut = charged is None or charged["aggregation"] in ("count", "sum")
    blocks = limits.blocking and can_be_cut and rng.random() < 0.5
    aggregation = rng.choice(("count", "sum", "sum") if blocks else METERS)
    quota: dict[str, Any] = {
        "name": f"quota{number}",
        "meter": charged or _meter(rng, aggregation),
        "limit": rng.choice(("0", "0.5", "1", "2", "3", "10", "99.999999", "100")),
        "on_exceed": "block" if blocks else "overage",
        "notify_at": rng.sample(("0", "0.1", "0.5", "0.333333", "1", "2"), rng.randint(0, 3)),
    }
    if rng.random() < 0.5:
        unit = rng.choice(("minute", "hour", "day", "week", "month", "quarter", "year"))
        quota["window"] = {"unit": unit, "count": rng.choice((1, 1, 3, 10))}
    return quota


def _subscription(rng: Random, number: int, products: list[dict[str, Any]]) -> dict[str, Any]:
    starts = ("2026-01-31T00:00:00Z", "2024-02-29T12:30:00Z", "2026-01-01T00:00:00Z", "2025-10-25T23:30:00Z")
    subscription = {
        "id": f"sub{number}",
        "product": f"{rng.choice(products)['id']}@1.0.0",
        "subscriber": f"p{rng.randrange(3)}@x.example",
        "start": rng.choice(starts),
    }
    if rng.random() < 0.2:
        subscription["notification_threshold"] = rng.choice(("0", "0.25", "0.5", "1"))
    if rng.random() < 0.2:
        subscription["notification_addresses"] = ["b@x.example", "c@x.example"]
    if rng.random() < 0.6:
        subscription["organization"] = f"org{rng.randrange(2)}"
    if rng.random() < 0.15:
        subscription["end"] = "2026-06-15T00:00:00Z"
    if rng.random() < 0.15:
        subscription["cancelled_at"] = rng.choice(("2026-04-10T08:00:00Z", "2026-02-28T00:00:00Z"))
    return subscription


def _charge(rng: Random, number: int, limits: Limits, packaged: bool) -> dict[str, Any]:
    price = _price(rng, limits, packaged)
    if rng.random() < 0.25:
        price = {"model": "included", "included": rng.choice(("0", "0.5", "3", "100")), "then": price}
    return {"id": f"charge{number}", "meter": _meter(rng, rng.choice(METERS)), "price": price}


def _meter(rng: Random, aggregation: str) -> dict[str, Any]:
    meter: dict[str, Any] = {"aggregation": aggregation}
    if aggregation == "unique":
        meter["element"] = rng.choice(("x", "region", "nested.z"))
    elif aggregation != "count" and rng.random() < 0.25:
        meter["quantity"] = rng.choice(FORMULAS)
    elif aggregation != "count":
        meter["element"] = rng.choice(("x", "x", "y", "nested.z"))
    if rng.random() < 0.2:
        meter["where"] = rng.choice(WHERES)
    if aggregation in ("sum", "max", "latest", "average") and rng.random() < 0.4:
        meter["allow_negative"] = True
    return meter


def _price(rng: Random, limits: Limits, packaged: bool) -> dict[str, Any]:
    model = rng.choice(MODELS)
    price: dict[str, Any] = {"model": model}
    match model:
        case "per_unit":
            price["unit_price"] = rng.choice(PRICES)
        case "package":
            price |= {"package_size": rng.choice(("0.25", "1", "3", "100")), "package_price": rng.choice(PRICES)}
        case "percentage":
            price |= {"tiers": _tiers(rng, model, packaged)} if rng.random() < 0.3 else {"rate": rng.choice(PRICES)}
            if limits.per_event_amounts:
                price |= _per_event(rng)
        case _:
            price["tiers"] = _tiers(rng, model, packaged)
    return price


def _per_event(rng: Random) -> dict[str, str]:
    amounts = {"fixed_amount": ("0.30", "1"), "minimum_amount": ("0.5", "2"), "maximum_amount": ("5", "100")}
    return {key: rng.choice(values) for key, values in amounts.items() if rng.random() < 0.4}


def _tiers(rng: Random, model: str, packaged: bool) -> list[dict[str, str]]:
    bounds = sorted(rng.sample(range(len(BOUNDS)), rng.randint(0, 3)))
    tiers = []
    for bound in [*(BOUNDS[index] for index in bounds), None]:
        tier: dict[str, str] = {} if bound is None else {"up_to": bound}
        if model != "stairstep":
            tier["unit_price"] = rng.choice(PRICES)
        if model == "stairstep" or rng.random() < 0.3:
            tier["flat_amount"] = rng.choice(PRICES)
        if (model == "graduated" or (model == "volume" and packaged)) and rng.random() < 0.2:
            tier["package_size"] = rng.choice(("0.25", "1", "7", "100"))
        tiers.append(tier)
    return tiers


def _time(rng: Random, document: dict[str, Any], subscription: dict[str, Any]) -> datetime:
    """A time near something that matters: the start, an end, a month's end, a change of clocks; or any time."""
    start = datetime.fromisoformat(subscription["start"].replace("Z", "+00:00"))
    near = (
        start,
        start,
        start + timedelta(days=1),
        start + timedelta(days=14),
        datetime(2026, 2, 28, tzinfo=UTC),
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 4, 10, 8, tzinfo=UTC),
        datetime(2026, 6, 15, tzinfo=UTC),
    )
    step = rng.choice((0, -1, 1, 299_999_999, 300_000_000, 3_600_000_000, 86_400_000_000, -86_400_000_000))
    chance = rng.random()
    if chance < 0.72:
        return start + timedelta(minutes=rng.choice((4, 4, 180)), seconds=rng.randint(0, 50))
    if chance < 0.9:
        return rng.choice(near) + timedelta(microseconds=step)
    return start + timedelta(minutes=rng.randint(0, 500_000))


def shown(world_: World) -> str:
    """The world as text, for a report of a difference."""
    records = "\n".join(f"{partition} {raw!r} {logged}" for partition, raw, logged in world_.records)
    return f"{json.dumps(world_.document, indent=1)}\nlateness {world_.lateness}\n{records}"
