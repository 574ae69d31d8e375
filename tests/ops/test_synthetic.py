"""The hour of a test mode, rated and settled: its invoices are what was known before, of every price."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.settings import Settings
from ops.rating_run import rate_files
from ops.settling import settle_ledger
from rating.catalog import compile_catalog
from rating.synthetic import HOUR, PERIODS, Pace, Shape, simulations, transactions
from rating.synthetic_totals import totals
from schemas.decimals import AMOUNT_SCALE, parse_scaled
from schemas.products import SettlementPeriod
from tests.ops.ratemill import ROOT, query

START = datetime(2026, 11, 7, 7, 30, tzinfo=UTC)


def in_test_modes(catalog):
    """A catalog of products in a test mode, without blocks and multipliers; every subscription begins at START."""
    period = SettlementPeriod.model_validate("5min_synthetic")
    changes = {"settlement_period": period, "free_trial": None, "quotas": (), "pricing_rules": ()}
    products = tuple(one.model_copy(update=changes) for one in catalog.products)
    subscriptions = tuple(
        one.model_copy(update={"start": START, "end": None, "cancelled_at": None}) for one in catalog.subscriptions
    )
    return catalog.model_copy(update={"products": products, "subscriptions": subscriptions})


def rated(catalog, made, ledger):
    """The ledger of these simulations, every transaction sent twice."""
    ledger.mkdir()
    file = ledger / "events.ndjson"
    with open(file, "wb") as out:
        for simulation in made:
            for period in range(PERIODS):
                lines = [orjson.dumps(one.event) + b"\n" for one in transactions(simulation, period)]
                out.writelines(lines * 2)
    rate_files(catalog, ledger, [file], ledger, Settings(), "")
    return settle_ledger(ledger, Settings(), catalog, START + timedelta(microseconds=HOUR))


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("name", ["demo", "ai-platform"])
def test_invoices_are_what_was_known_before(tmp_path, name, shape):
    catalog = in_test_modes(load_catalog(ROOT / "ops/catalogs" / name))
    made = simulations(catalog, compile_catalog(catalog), Pace(rate=10, shape=shape))
    done = rated(catalog, made, tmp_path / "ledger")
    assert done.waiting == []
    assert done.due >= len(made) * PERIODS
    verdicts = {row["verdict"]: row["events"] for row in query(tmp_path / "ledger", "FROM verdict_counts")}
    assert set(verdicts) <= {"rated", "duplicate", "exempt", "blocked"}
    assert verdicts["duplicate"] * 2 == sum(verdicts.values())
    invoiced = defaultdict(int)
    for row in query(tmp_path / "ledger", "FROM invoice_lines WHERE charge_id IS NOT NULL"):
        units = parse_scaled(row["exact_amount"], AMOUNT_SCALE, 20)
        invoiced[row["subscription_id"], row["period"], row["charge_id"]] += units
    known = 0
    for simulation in made:
        for total in totals(simulation):
            if total.amount is not None:
                known += 1
                place = (simulation.subscription.id, total.period, total.charge)
                assert invoiced[place] == total.amount, (place, total)
    assert known > PERIODS * 5


def test_a_test_mode_has_twelve_invoices_whatever_is_used_and_then_rests(tmp_path):
    catalog = load_catalog(ROOT / "ops/catalogs/demo")
    tryouts = tuple(one for one in catalog.subscriptions if one.id.endswith("-tryout"))
    catalog = catalog.model_copy(update={"subscriptions": tryouts, "credentials": ()})
    (fir,) = simulations(catalog, compile_catalog(catalog), Pace(rate=10))
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    # One period has usage; one event comes too late to be of the hour.
    events = [one.event for one in transactions(fir, 3)]
    after = {**events[0], "id": "after", "time": "2026-11-07T08:30:00Z"}
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(map(orjson.dumps, [*events, after])))
    rate_files(catalog, ledger, [tmp_path / "events.ndjson"], ledger, Settings(), "")
    for minutes, total in [(17, 3), (60, 12), (60, 12), (60 * 24 * 30, 12)]:
        settle_ledger(ledger, Settings(), catalog, START + timedelta(minutes=minutes))
        invoices = query(ledger, "SELECT subscription_id, period FROM invoices WHERE period > 0 ORDER BY ALL")
        for name in ("birch-tryout", "fir-tryout"):
            assert [row["period"] for row in invoices if row["subscription_id"] == name] == [*range(1, total + 1)]
    ended = query(
        ledger, "SELECT subscription_id, details FROM notifications WHERE kind = 'test_mode_ended' ORDER BY 1"
    )
    assert [row["subscription_id"] for row in ended] == ["birch-tryout", "fir-tryout"]
    assert all(orjson.loads(row["details"])["periods"] == PERIODS for row in ended)
    (late,) = query(ledger, "SELECT verdict, reason FROM events WHERE event_id = 'after'")
    assert late == {"verdict": "blocked", "reason": "not_active"}
    usage = query(ledger, "SELECT DISTINCT period FROM invoice_lines WHERE line_kind = 'usage'")
    assert [row["period"] for row in usage] == [4]
