"""What the calendar and strangers give rise to is told once: across runs, new catalogs, and repeats."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import yaml

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from ops.rating_run import rate_files

START = datetime(2026, 3, 1, tzinfo=UTC)
TRIAL = {
    "id": "tried",
    "version": "1.0.0",
    "currency": "USD",
    "settlement_period": "month",
    "payment_model": "transactional",
}
TRIAL |= {
    "rate": "1",
    "free_trial": {"days": 14, "notify_before_end": True},
    "provider_notification_addresses": ["p@x.example"],
}
QUIET = TRIAL | {"id": "quiet", "free_trial": {"days": 14}}


def catalog(folder: Path, *subscriptions: dict) -> Path:
    document = {
        "subscribers": [{"email": "joe@x.example"}],
        "sources": [{"id": "api"}],
        "products": [TRIAL, QUIET],
        "subscriptions": [{"subscriber": "joe@x.example", "product": "tried@1.0.0"} | one for one in subscriptions],
    }
    folder.mkdir()
    (folder / "catalog.yaml").write_text(yaml.safe_dump(document))
    return folder


def subscription(name: str, start: datetime = START, **more: object) -> dict:
    return {"id": name, "start": start.isoformat(), **more}


def events(path: Path, *moments: datetime, owner: str = "old", **more: str) -> Path:
    rows = [
        {"id": f"{path.name}-{number}", "source": "api", "subscription": owner, "time": moment.isoformat(), **more}
        for number, moment in enumerate(moments)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rate(folder: Path, *files: Path, ledger: Path) -> pl.DataFrame:
    """The notifications after a run."""
    loaded = load_catalog(folder)
    rate_files(loaded, folder, files, ledger, Settings(epoch_seconds=0.02), "test")
    return read_table(ledger, "notifications")


def said(rows: pl.DataFrame) -> list[tuple[str, str]]:
    return sorted(rows.select("kind", "subscription_id").iter_rows())


def test_the_calendar_is_told_once_across_runs_and_catalogs(tmp_path):
    ledger, day = tmp_path / "ledger", timedelta(days=1)
    late = START + timedelta(days=5)
    first = catalog(
        tmp_path / "first",
        subscription("old"),
        subscription("late", late),
        subscription("left", cancelled_at=(START + 3 * day).isoformat()),
        subscription("quiet", product="quiet@1.0.0"),
    )
    one = events(tmp_path / "1.ndjson", START + day, START + 6 * day)
    found = rate(first, one, ledger=ledger)
    assert said(found) == [("subscription_cancelled", "left"), ("subscription_created", "late")]
    [created] = found.filter(kind="subscription_created").to_dicts()
    [cancelled] = found.filter(kind="subscription_cancelled").to_dicts()
    assert (cancelled["occurred_at"], cancelled["recipients"]) == (START + 3 * day, ["p@x.example", "joe@x.example"])
    # Within its trial, which is its end.
    assert json.loads(cancelled["details"]) == {"cancelled_at": "2026-03-04T00:00:00Z", "end": "2026-03-15T00:00:00Z"}
    assert created["occurred_at"] == late
    assert created["recipients"] == ["p@x.example"]
    assert json.loads(created["details"]) == {
        "start": "2026-03-06T00:00:00Z",
        "end": None,
        "trial_end": "2026-03-20T00:00:00Z",
    }
    two = events(tmp_path / "2.ndjson", START + 13 * day)
    before = [("subscription_cancelled", "left"), ("subscription_created", "late"), ("trial_ending", "old")]
    assert said(rate(first, one, two, ledger=ledger)) == before
    [ending] = read_table(ledger, "notifications").filter(kind="trial_ending").to_dicts()
    assert (ending["occurred_at"], ending["recipients"]) == (START + 13 * day, ["joe@x.example"])
    assert json.loads(ending["details"]) == {"trial_end": "2026-03-15T00:00:00Z"}
    second = catalog(
        tmp_path / "second",
        subscription("old"),
        subscription("late", late, cancelled_at=(START + 10 * day).isoformat()),
        subscription("backdated", START + 2 * day),
        subscription("future", START + 300 * day),
    )
    three = events(tmp_path / "3.ndjson", START + 14 * day)
    # What took place before the catalog told of it is told with the catalog.
    wanted = sorted(
        [
            *before,
            ("subscription_cancelled", "late"),
            ("subscription_created", "backdated"),
            ("trial_converted", "old"),
        ]
    )
    assert said(rate(second, one, two, three, ledger=ledger)) == wanted
    assert said(rate(second, one, two, three, ledger=ledger)) == wanted


def test_strangers_are_told_of_once_per_input(tmp_path):
    folder = catalog(tmp_path / "catalog", subscription("old"))
    moments = [START + timedelta(hours=hour) for hour in range(3)]
    files = [
        events(tmp_path / "1.ndjson", *moments, owner="nobody"),
        events(tmp_path / "2.ndjson", *moments, credential="key-new"),
    ]
    found = rate(folder, *files, ledger=tmp_path / "ledger")
    assert said(found) == [("credential_discovered", "old"), ("event_parked", "nobody")]
    discovered, parked = found.sort("kind").to_dicts()
    assert (parked["event_id"], parked["offset"], parked["recipients"]) == ("1.ndjson-0", 0, [])
    assert json.loads(parked["details"])["reason"] == "unknown_subscription"
    assert (discovered["credential_id"], discovered["event_id"]) == ("key-new", "2.ndjson-0")
    assert discovered["recipients"] == ["p@x.example"]
