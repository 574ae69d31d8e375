"""Generated traffic is repeatable and holds every kind of trouble."""

import json
from datetime import timedelta

from dataflows.connectors.catalog_folder import load_catalog
from ops.traffic import Traffic, generate
from tests.ops.ratemill import write_world


def records(folder, **changes):
    catalog, _, _ = write_world(folder, [])
    traffic = Traffic(**{"events": 20_000, **changes})
    return b"".join(generate(load_catalog(catalog), traffic)).splitlines(), traffic


def readable(lines):
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def test_the_seed_decides_every_byte(tmp_path):
    once, again, other = (records(tmp_path, seed=seed)[0] for seed in (1, 1, 2))
    assert once == again
    assert once != other
    assert len(once) == 20_000


def test_it_is_as_untidy_as_the_real_thing(tmp_path):
    lines, _ = records(tmp_path)
    events = list(readable(lines))
    identities = [(event.get("source"), event.get("id")) for event in events]
    statuses = [event["data"].get("status") for event in events if isinstance(event.get("data"), dict)]
    assert 0 < len(lines) - len(events) < 100, "cut records"
    assert 50 < len(identities) - len(set(identities)) < 1_000, "repeats"
    assert sum(status in (500, 502, 503) for status in statuses) > 100, "failed calls"
    assert any(event.get("subscription", "").startswith("sub-not-yet") for event in events)
    assert any(event.get("credential", "").startswith("key-not-yet") for event in events)
    assert any(event.get("source") == "shadow-service" for event in events)


def test_events_lie_within_the_hour_and_not_quite_in_order(tmp_path):
    lines, traffic = records(tmp_path)
    times = [event["time"] for event in readable(lines) if event.get("time", "yesterday") != "yesterday"]
    first, last = (f"{time:%Y-%m-%dT%H:%M}" for time in (traffic.start, traffic.start + timedelta(hours=1)))
    delayed = [time for time in times if time < first]
    assert 0 < len(delayed) < 100
    assert max(times) < last
    assert times != sorted(times)


def test_no_events_are_no_bytes(tmp_path):
    assert records(tmp_path, events=0)[0] == []
