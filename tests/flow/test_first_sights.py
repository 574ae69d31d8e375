"""The duplicate index of a restart: as far back as the lateness reaches, and not further."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from dataflows.launcher import run_rating
from dataflows.ledger.folder import open_folder
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from dataflows.steps.first_sights import FirstSights
from rating.dedupe import DuplicateIndex, Sightings, hash_identities, pack_positions
from rating.engine import GroupState, RatingSettings
from tests.flow.world import make_world

MINUTES = 3_000
# No merges: every commit keeps files, and so row groups, of its own.
SETTINGS = Settings(batch_records=100, epoch_seconds=0.02, merge_files=10_000, lateness_hours=2)


def line(minute: int) -> str:
    time = datetime(2026, 11, 2, tzinfo=UTC) + timedelta(minutes=minute)
    event = {"id": f"e-{minute}", "source": "api", "subscription": f"sub-0-{minute % 40}", "time": time.isoformat()}
    return json.dumps(event) + "\n"


def remembered(ledger: Path, lateness: int | None, catalog) -> int:
    settings = RatingSettings(16, lateness)
    sights = FirstSights(open_folder(ledger, 16, 2), settings)
    return sum(len(sights.give(GroupState.new(group, lateness), catalog).duplicates) for group in range(16))


def test_what_may_still_be_repeated_is_read_again(tmp_path):
    world = make_world(tmp_path / "world", 1)
    catalog = world.compiled()
    file = tmp_path / "events.ndjson"
    file.write_text("".join(map(line, range(MINUTES))))
    ledger = tmp_path / "ledger"
    run_rating(catalog, world.catalog, [file], ledger, SETTINGS)
    assert remembered(ledger, None, catalog) == MINUTES
    with open(file, "a") as more:
        more.write(line(MINUTES - 60) + line(MINUTES))
    run_rating(catalog, world.catalog, [file], ledger, SETTINGS)
    verdicts = read_table(ledger, "events").sort("offset")["verdict"].to_list()
    assert verdicts[-2:] == ["duplicate", "rated"]


HOUR = 3_600_000_000


def sights(partition: int, name: str, moment: int) -> Sightings:
    identity = hash_identities(pl.Series([name]), pl.Series(["api"]))
    return Sightings(identity, pack_positions(partition, np.array([moment // HOUR])), np.array([moment]))


def test_the_index_keeps_what_a_partition_may_repeat_that_is_still_to_come():
    """Partition 1 is read later than partition 0, though its records are of the same days."""
    index = DuplicateIndex(8 * HOUR)
    index.expect([0, 1])
    for number in range(40):
        index.remember(sights(0, f"e-{number}", number * HOUR))
    assert len(index) == 40
    assert index.beyond_reach(sights(1, "other", 0)).tolist() == [False]
    assert index.repeats(sights(1, "e-2", 3 * HOUR)).tolist() == [True]
    index.advance(1, 30 * HOUR)
    assert len(index) == 40 - 30 + 8


def test_the_index_forgets_what_an_idle_partition_alone_could_reach():
    index = DuplicateIndex(8 * HOUR)
    index.remember(sights(0, "idle", 0))
    for number in range(1, 40):
        index.remember(sights(1, f"e-{number}", number * HOUR))
    assert len(index) == 40
    index.advance(2, 100 * HOUR)
    assert len(index) == 40
    index.advance(0, 39 * HOUR)
    assert len(index) == 9
    assert index.repeats(sights(1, "e-38", 39 * HOUR + 1)).tolist() == [True]
    assert index.beyond_reach(sights(0, "idle", HOUR)).tolist() == [True]
