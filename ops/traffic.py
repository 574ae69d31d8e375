"""Generated traffic for a catalog: repeatable by its seed, and as untidy as the real thing.

Owns: who calls what, what the elements of an event look like, and which share of the records is repeated, broken or
unknown. Does not own: what becomes of them. The rule: the same catalog and the same `Traffic` give the same bytes.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from rating.synthetic_elements import elements_of
from schemas.catalog import Catalog

LINES_PER_CHUNK = 2_000
_JITTER_US = 20_000_000
_RECENT = 500
_PER = 10_000
_CHOICES = {
    "region": ("eu", "eu", "us", "us", "us", "apac"),
    "model": ("small", "small", "large"),
    "channel": ("sms", "sms", "push", "email"),
    "method": ("card", "card", "card", "transfer"),
    "priority": ("low", "normal", "urgent"),
}


@dataclass(frozen=True)
class Traffic:
    """How much traffic, over which time, and the seed that decides the rest."""

    events: int = 100_000
    seed: int = 7
    start: datetime = datetime(2026, 11, 7, 7, 30, tzinfo=UTC)
    duration: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Caller:
    """One way of calling: the attributes an event of it states, and the elements its product meters."""

    attributes: tuple[tuple[str, str], ...]
    elements: tuple[tuple[str, str], ...]


Event = dict[str, Any]


def generate(catalog: Catalog, traffic: Traffic) -> Iterator[bytes]:
    """Chunks of NDJSON, `traffic.events` records in all, roughly in order of time."""
    rng = random.Random(traffic.seed)
    callers = callers_of(catalog)
    weights = [3 + 24 // (1 + rank) for rank in range(len(callers))]
    recent: list[bytes] = []
    lines: list[bytes] = []
    for number in range(traffic.events):
        caller = rng.choices(callers, weights)[0]
        event = _event(rng, traffic, number, caller)
        line = _disturbed(rng, event, recent)
        lines.append(line)
        if len(recent) < _RECENT:
            recent.append(line)
        else:
            recent[number % _RECENT] = line
        if len(lines) == LINES_PER_CHUNK:
            yield b"\n".join(lines) + b"\n"
            lines = []
    if lines:
        yield b"\n".join(lines) + b"\n"


def callers_of(catalog: Catalog) -> list[Caller]:
    """Every subscription but those in a test mode, with each of its sources, by each of its credentials and without."""
    products = {product.reference: product for product in catalog.products}
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    metered = {reference: elements_of(product, rules) for reference, product in products.items()}
    carried = {source.id: source.elements for source in catalog.sources}
    credentials: dict[str, list[str]] = {}
    for credential in catalog.credentials:
        credentials.setdefault(credential.subscription, []).append(credential.id)
    callers = []
    for subscription in catalog.subscriptions:
        if products[subscription.product].settlement_period.test_mode:
            continue
        for source in products[subscription.product].sources or tuple(carried):
            kinds = dict(metered[subscription.product])
            elements = tuple((name, kinds.get(name, "number")) for name in carried[source] or tuple(kinds))
            stated = (("source", source), ("subscription", subscription.id))
            callers.append(Caller(stated, elements))
            for name in credentials.get(subscription.id, []):
                callers.append(Caller((*stated, ("credential", name)), elements))
                callers.append(Caller((("source", source), ("credential", name)), elements))
    return callers


def _event(rng: random.Random, traffic: Traffic, number: int, caller: Caller) -> Event:
    span = traffic.duration // timedelta(microseconds=1)
    jitter = min(_JITTER_US, span // 2)
    moment = number * (span - jitter) // traffic.events + rng.randrange(jitter)
    return {
        "specversion": "1.0",
        "id": f"{traffic.seed}-{number}",
        "type": "api.request",
        "time": _time_text(traffic.start + timedelta(microseconds=moment)),
        **dict(caller.attributes),
        "data": _data(rng, caller.elements),
    }


def _time_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _data(rng: random.Random, elements: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, kind in elements:
        *parents, last = name.split(".")
        target = data
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _value(rng, last, kind)
    return data


def _value(rng: random.Random, name: str, kind: str) -> int | str:
    if name == "status":
        return 200 if rng.randrange(100) else rng.choice((404, 429))
    if name in _CHOICES:
        return rng.choice(_CHOICES[name])
    if name.endswith("tokens"):
        return rng.randrange(20, 40 << rng.randrange(8))
    if name.endswith("_gb"):
        return f"{rng.randrange(20)}.{rng.randrange(1000):03d}"
    if name.endswith("amount"):
        return f"{rng.randrange(1, 500)}.{rng.randrange(100):02d}"
    if name == "images":
        return rng.randrange(3)
    if name == "user":
        return f"user-{rng.randrange(60)}"
    return f"{name}-{rng.randrange(20)}" if kind == "text" else rng.randrange(1, 40)


def _disturbed(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    """The record of an event, or what a careless world makes of it; shares are per ten thousand records."""
    roll = rng.randrange(_PER)
    for share, disturb in _DISTURBANCES:
        if roll < share:
            return disturb(rng, event, recent)
        roll -= share
    return orjson.dumps(event)


def _repeated(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    return rng.choice(recent) if recent else orjson.dumps(event)


def _repeated_with_other_data(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    if not recent:
        return orjson.dumps(event)
    try:
        earlier = orjson.loads(rng.choice(recent))
    except orjson.JSONDecodeError:
        return orjson.dumps(event)
    if not isinstance(earlier.get("data"), dict):
        return orjson.dumps(event)
    return orjson.dumps({**earlier, "data": {**earlier["data"], "status": 202}})


def _failed(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    return orjson.dumps({**event, "data": {**event["data"], "status": rng.choice((500, 502, 503))}})


def _for_unknown_subscription(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    stated = {key: value for key, value in event.items() if key != "credential"}
    return orjson.dumps({**stated, "subscription": f"sub-not-yet-{rng.randrange(3)}"})


def _for_unknown_credential(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    stated = {key: value for key, value in event.items() if key != "subscription"}
    return orjson.dumps({**stated, "credential": f"key-not-yet-{rng.randrange(5)}"})


def _with_new_credential(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    if "subscription" not in event:
        return orjson.dumps(event)
    named = {**event, "credential": f"{event['subscription']}-new-{rng.randrange(2)}"}
    if rng.randrange(2):
        # Known from the first event on that names it beside the subscription; parked before.
        del named["subscription"]
    return orjson.dumps(named)


def _from_unknown_source(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    return orjson.dumps({**event, "source": "shadow-service"})


def _delayed(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    return _earlier(event, rng.randrange(5, 34))


def _much_delayed(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    return _earlier(event, rng.randrange(40, 60))


def _earlier(event: Event, days: int) -> bytes:
    time = datetime.fromisoformat(event["time"]) - timedelta(days=days)
    return orjson.dumps({**event, "time": _time_text(time)})


def _broken(rng: random.Random, event: Event, recent: list[bytes]) -> bytes:
    """A record that cannot be read, each in its own way."""
    number = next(
        (name for name, value in event["data"].items() if name != "status" and isinstance(value, int)), "status"
    )
    whole = orjson.dumps(event)
    return rng.choice(
        (
            whole[: rng.randrange(1, len(whole) - 1)],
            orjson.dumps({key: value for key, value in event.items() if key != "id"}),
            orjson.dumps({key: value for key, value in event.items() if key not in ("subscription", "credential")}),
            orjson.dumps({**event, "time": "yesterday"}),
            orjson.dumps({**event, "data": [1, 2, 3]}),
            orjson.dumps({**event, "data": {**event["data"], number: "NaN"}}),
            orjson.dumps({**event, "data": {**event["data"], number: "0.1234567"}}),
            orjson.dumps({**event, "data": {**event["data"], number: -5}}),
            whole.replace(b'"data":{', b'"data":{"' + number.encode() + b'":1e400,', 1),
        )
    )


_DISTURBANCES: tuple[tuple[int, Callable[[random.Random, Event, list[bytes]], bytes]], ...] = (
    (150, _failed),
    (80, _repeated),
    (4, _repeated_with_other_data),
    (25, _for_unknown_subscription),
    (15, _for_unknown_credential),
    (15, _with_new_credential),
    (10, _from_unknown_source),
    (40, _delayed),
    (5, _much_delayed),
    (25, _broken),
)
