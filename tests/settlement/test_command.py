"""`ratemill settle`: what it says, what it leaves out and names, and what it refuses."""

from datetime import timedelta
from pathlib import Path

import pytest

from dataflows.ledger.published import read_table
from tests.ops.ratemill import Ran, inside
from tests.settlement.settling import Ledger
from tests.settlement.world import START, rated

AS_OF = (START + timedelta(days=62)).isoformat()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Ledger:
    return rated(tmp_path_factory.mktemp("world") / "one")


def settle(world: Ledger, catalog: Path, *options: str) -> tuple[str, ...]:
    return ("settle", "--ledger", str(world.root), "--catalog", str(catalog), *options)


def ran(code: int, *arguments: str) -> Ran:
    done = inside(*arguments)
    assert done.code == code, done
    return done


def test_what_is_left_out_is_named(world, tmp_path):
    """A subscription that is gone, a refund of nothing; the second time nothing is due."""
    gone = world.document["subscriptions"].pop()
    world.document["refunds"] = [
        {"id": "r", "invoice": "no-such-invoice", "amount": "1", "issued_at": "2026-01-05T00:00:00Z"}
    ]
    told = ran(1, *settle(world, world.catalog(), "--as-of", AS_OF, "--json")).json()
    assert told["unknown_subscriptions"] == [gone["id"]]
    assert told["refunds_of_unknown_invoices"] == ["r"]
    assert (told["waiting"], told["invoices"]) == ([], read_table(world.root, "invoices").height)
    assert gone["id"] not in set(read_table(world.root, "invoices")["subscription_id"])
    world.document["subscriptions"].append(gone)
    world.document["refunds"] = []
    first = ran(0, *settle(world, world.catalog(), "--as-of", AS_OF)).out
    assert "settlement periods closed" in first
    assert ran(0, *settle(world, world.catalog(), "--as-of", AS_OF)).out.startswith("Nothing is due")


def test_no_such_time_or_ledger(world, tmp_path):
    assert "is not a time with a zone" in ran(2, *settle(world, world.catalog(), "--as-of", "2026-13-01")).err
    said = ran(1, "settle", "--ledger", str(tmp_path / "none"), "--catalog", str(world.catalog())).err
    assert "There is no ledger at" in said
