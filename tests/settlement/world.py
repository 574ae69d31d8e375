"""A small world to settle: several products, two months of seeded events, as files and a ledger."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.cases.notation import Record
from tests.settlement.settling import SETTINGS, Ledger

START = datetime(2026, 1, 1, tzinfo=UTC)
_SEED = 11
_PRODUCTS = (
    {"payment_model": "transactional", "rate": "0.0123", "minimum_spend": "1"},
    {
        "payment_model": "volume",
        "recurring_fee": {"amount": "10", "bill": "in_advance"},
        "included": 2,
        "tier_mode": "volume",
        "tiers": [{"up_to": "5", "unit_price": "0.333"}, {"unit_price": "0.111", "flat_amount": "1"}],
    },
    {"payment_model": "subscription", "recurring_fee": "9.99", "setup_fee": "3", "free_trial": {"days": 10}},
    {
        "settlement_period": "week",
        "charges": [
            {
                "id": "bytes",
                "meter": {"aggregation": "sum", "element": "n"},
                "price": {
                    "model": "graduated",
                    "tiers": [{"up_to": "5", "unit_price": "0.01"}, {"unit_price": "0.005", "flat_amount": "0.5"}],
                },
            }
        ],
    },
)


def one_subscription(**product: Any) -> dict[str, list[dict[str, Any]]]:
    """A catalog of the subscription acme to a product p by the month, which has these keys beside."""
    common = {"id": "p", "version": "1.0.0", "currency": "USD", "settlement_period": "month"}
    return {
        "subscribers": [{"email": "joe@acme.example"}],
        "sources": [{"id": "api"}],
        "products": [common | product],
        "subscriptions": [
            {"id": "acme", "product": "p@1.0.0", "subscriber": "joe@acme.example", "start": START.isoformat()}
        ],
    }


def document(subscriptions: int = 24) -> dict[str, list[dict[str, Any]]]:
    """A catalog whose subscriptions take the products in turn, some of them cancelled."""
    common = {"version": "1.0.0", "currency": "USD", "settlement_period": "month", "immediate_cancellation": True}
    held = []
    for number in range(subscriptions):
        one = {
            "id": f"sub-{number}",
            "product": f"p{number % len(_PRODUCTS)}@1.0.0",
            "subscriber": "joe@acme.example",
            "start": (START + timedelta(hours=number)).isoformat(),
        }
        held.append(one | ({"cancelled_at": "2026-02-10T12:00:00Z"} if number % 7 == 0 else {}))
    return {
        "subscribers": [{"email": "joe@acme.example"}],
        "sources": [{"id": "api"}],
        "products": [{"id": f"p{number}"} | common | one for number, one in enumerate(_PRODUCTS)],
        "subscriptions": held,
    }


def records(seed: int = _SEED, count: int = 600, subscriptions: int = 24) -> list[Record]:
    """Events over 59 days, in no order."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        moment = START + timedelta(seconds=chance.randrange(59 * 86_400))
        event = {
            "id": f"{seed}-{number}",
            "source": "api",
            "subscription": f"sub-{chance.randrange(subscriptions)}",
            "time": moment.isoformat(),
            "data": {"n": str(chance.randrange(1, 40) / 4)},
        }
        made.append(Record("world", 0, json.dumps(event).encode(), None, None))
    return made


def rated(folder: Path, **changes: Any) -> Ledger:
    """The world, rated; not settled yet. `changes` are settings."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder, document(), SETTINGS.model_copy(update=changes))
    ledger.rate(records())
    return ledger
