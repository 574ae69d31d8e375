"""What is measured: how many subscriptions and events, the catalog they use, and the seeded traffic in a folder.

Subscriptions are drawn evenly, the worst case for caches and for state that must be at hand.
"""

import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas.catalog import Catalog, Product, Source, Subscriber, Subscription

BATCH_RECORDS = 50_000
KEY_GROUPS = 16
CHARGES = 1
MORE_EVENTS = 1_000
# Each tier's upper bound, in gigabytes a month, and its price of one.
TIERS = (("100", "0.10"), ("1000", "0.05"), (None, "0.0125"))
FIRST_FAILED_STATUS = 500
_SEED = 20261120
_CHUNK = 500_000
_START = datetime(2026, 11, 1, tzinfo=UTC)
MILLISECONDS_PER_EVENT = 40
START_MILLISECONDS = round(_START.timestamp()) * 1_000
_MILLION_CYCLE = 1_000_003


@dataclass(frozen=True)
class Scenario:
    """One file of `events` events, drawn evenly over `subscriptions` subscriptions; `first` numbers its first event."""

    subscriptions: int
    events: int
    first: int = 0

    @property
    def label(self) -> str:
        """The number of subscriptions, for people."""
        return f"{self.subscriptions:,}"


def bench_catalog(subscriptions: int, **more: Any) -> Catalog:
    """One product with graduated tiers on the sum of an element, and that many subscriptions to it.

    `more` are keys of the product. Models are built without validation: validating a million subscriptions is not what
    is measured.
    """
    product = Product.model_validate(
        {
            "id": "storage",
            "version": "1.0.0",
            "currency": "USD",
            "settlement_period": "month",
            "sources": ["bucket"],
            "charges": [
                {
                    "id": "gigabytes",
                    "meter": {"aggregation": "sum", "element": "gigabytes"},
                    "price": {
                        "model": "graduated",
                        "tiers": [
                            {"unit_price": price} | ({"up_to": bound} if bound else {}) for bound, price in TIERS
                        ],
                    },
                }
            ],
            **more,
        }
    )
    held = tuple(
        Subscription.model_construct(
            id=subscription_id(number), product="storage@1.0.0", subscriber="joe@acme.example", start=_START
        )
        for number in range(subscriptions)
    )
    return Catalog.model_construct(
        subscribers=(Subscriber(email="joe@acme.example"),),
        sources=(Source(id="bucket"),),
        products=(product,),
        subscriptions=held,
    )


def subscription_id(number: int) -> str:
    """The id of the subscription with that number."""
    return f"sub-{number:08d}"


def traffic_file(scenario: Scenario, folder: Path) -> Path:
    """The scenario's events as NDJSON, about 200 bytes each; made once, found again by its name."""
    path = folder / f"{'-'.join(f'{name}-{value}' for name, value in asdict(scenario).items())}.ndjson"
    if path.exists():
        return path
    random = np.random.default_rng(_SEED + scenario.first)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as aside:
        for first in range(0, scenario.events, _CHUNK):
            height = min(_CHUNK, scenario.events - first)
            aside.write(_lines(random, scenario.first + first, height, scenario.subscriptions))
    return Path(aside.name).rename(path)


def events_from(start: datetime, per_second: int, events: int, subscriptions: int) -> list[bytes]:
    """So many events in memory, evenly from a moment on."""
    random = np.random.default_rng(_SEED)
    return _lines(random, 0, events, subscriptions, start, 1_000_000 // per_second).splitlines()


def _lines(
    random: np.random.Generator,
    first: int,
    height: int,
    subscriptions: int,
    start: datetime = _START,
    microseconds: int = MILLISECONDS_PER_EVENT * 1_000,
) -> bytes:
    numbers = np.arange(first, first + height, dtype=np.int64)
    milliunits = random.integers(1, 40_000, height)
    frame = pl.DataFrame(
        {
            "id": numbers * _MILLION_CYCLE,
            "time": pl.Series(numbers * microseconds).cast(pl.Duration("us")) + start,
            "subscription": random.integers(0, subscriptions, height),
            "whole": milliunits // 1000,
            "rest": milliunits % 1000,
            "status": np.where(random.integers(0, 100, height) < 1, 503, 200),
        }
    )
    line = pl.format(
        '{{"specversion":"1.0","id":"{}","source":"bucket","type":"storage.put","time":"{}",'
        '"subscription":"sub-{}","data":{{"status":{},"gigabytes":{}.{},"region":"eu-central-1"}}}}',
        pl.col("id").cast(pl.String).str.zfill(18),
        pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        pl.col("subscription").cast(pl.String).str.zfill(8),
        "status",
        "whole",
        pl.col("rest").cast(pl.String).str.zfill(3),
    )
    return ("\n".join(frame.select(line.alias("line"))["line"].to_list()) + "\n").encode()
