"""What is read from a ledger: what its tables say, however little was new, and nothing when it cannot be known."""

import json
from collections import Counter

import polars as pl
import pytest

from dataflows import metrics_facts
from dataflows.launcher import run_rating
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.ledger.published import read_table
from dataflows.ledger.writer import LedgerWriter
from dataflows.metrics_facts import Ends, LedgerFacts, lags
from dataflows.settings import Settings
from schemas.verdicts import VERDICT_LABELS
from tests.flow.world import make_world
from tests.ledger.sealing import seal

SMALL = Settings(batch_records=100, epoch_seconds=0.01, merge_files=3, replaced_files_seconds=0.05)
KEEPING = Housekeeping(merge_files=3, merged_rows_limit=1_000, replaced_files_grace=0.01)


@pytest.fixture
def folder(tmp_path) -> LedgerFolder:
    return open_folder(tmp_path / "ledger", SMALL.key_groups, SMALL.writers)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Every look reads."""
    monkeypatch.setattr(metrics_facts, "_SECONDS_BETWEEN_LOOKS", -1.0)


def scraped(facts: LedgerFacts) -> dict[str, dict[tuple[str, ...], float]]:
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in facts.collect()
    }


def assert_as_the_tables(facts: LedgerFacts, folder: LedgerFolder) -> None:
    commits = read_table(folder.root, "commits")
    looked = facts.look()
    assert looked is not None
    assert sum((writer.counts for writer in looked), Counter()) == Counter(
        commits.select(pl.col("received", "line_items", *VERDICT_LABELS).sum()).row(0, named=True)
    )
    for number, writer in enumerate(looked):
        last = commits.filter(pl.col("writer") == number).sort("sequence").tail(1)
        assert writer.published == last["sequence"].item() + 1
        assert writer.next_offsets == {int(key): value for key, value in json.loads(last["offsets"].item()).items()}
        assert writer.progress == last["progress"].dt.epoch("us").item()
        assert writer.difference == 0


def test_what_is_new_is_added(tmp_path, folder):
    world = make_world(tmp_path / "world", events_per_file=600)
    facts = LedgerFacts(folder)
    for count in range(1, len(world.events) + 1):
        run_rating(world.compiled(), world.catalog, world.events[:count], folder.root, SMALL)
        assert_as_the_tables(facts, folder)
    assert_as_the_tables(LedgerFacts(folder), folder)
    assert sum(scraped(facts)["ratemill_ledger_records"].values()) == 1800
    assert any("-0000000000-0000000000" not in path.name for path in folder.table("commits").iterdir()), "never merged"


def announce(writer: LedgerWriter, partition: int, next_offset: int, progress: int | None = None) -> None:
    writer.announce(0, partition, LanePosition(next_offset, progress), "digest")


def test_a_partition_is_as_far_as_the_writer_that_is_least_far(folder):
    facts = LedgerFacts(folder)
    assert facts.next_offsets() == {}
    assert facts.age() is None
    first, second = (LedgerWriter(folder, number, None, KEEPING) for number in folder.writers())
    announce(first, 0, 10, 5_000_000)
    announce(first, 1, 20, 6_000_000)
    announce(second, 0, 7, 4_000_000)
    for writer in (first, second, first):
        seal(writer)
    assert facts.next_offsets() == {}
    assert facts.age() is None
    assert scraped(facts)["ratemill_ledger_published_sequence"] == {("0",): 0}
    assert scraped(facts)["ratemill_ledger_progress_timestamp_seconds"] == {("0",): 5}
    seal(second)
    assert facts.next_offsets() == {0: 7}
    assert scraped(facts)["ratemill_partition_next_offset"] == {("0",): 7}
    assert 0 <= facts.age() < 60


def test_a_difference_is_seen(tmp_path, folder):
    world = make_world(tmp_path / "world", events_per_file=300)
    run_rating(world.compiled(), world.catalog, world.events[:1], folder.root, SMALL)
    path = folder.manifest(1)
    files = json.loads(path.read_text())
    victim = next(file for file in files if file["table"] == "events" and file["visible_until"] is None)
    path.write_text(json.dumps([file for file in files if file is not victim]))
    assert victim["rows"] > 0
    assert scraped(LedgerFacts(folder))["ratemill_ledger_conservation_difference"] == {
        ("0",): 0,
        ("1",): victim["rows"],
    }


def test_an_unreadable_ledger_has_no_metrics_until_it_can_be_read(tmp_path, folder):
    world = make_world(tmp_path / "world", events_per_file=300)
    run_rating(world.compiled(), world.catalog, world.events[:1], folder.root, SMALL)
    path = folder.manifest(0)
    content = path.read_bytes()
    facts = LedgerFacts(folder)
    before = scraped(facts)
    assert before["ratemill_ledger_readable"] == {(): 1}
    path.write_bytes(content[:-3])
    assert scraped(facts) == {"ratemill_ledger_readable": {(): 0}}
    assert facts.next_offsets() is facts.age() is None
    path.write_bytes(content)
    again = scraped(facts)
    assert {name: again[name] for name in again if "age" not in name} == {
        name: before[name] for name in before if "age" not in name
    }


def test_nobody_waits_for_files_twice_in_a_second(folder, monkeypatch):
    monkeypatch.setattr(metrics_facts, "_SECONDS_BETWEEN_LOOKS", 60.0)
    facts = LedgerFacts(folder)
    assert [writer.published for writer in facts.look()] == [0, 0]
    writer = LedgerWriter(folder, 0, None, KEEPING)
    announce(writer, 0, 1)
    seal(writer)
    seal(writer)
    assert [writer.published for writer in facts.look()] == [0, 0]
    assert [writer.published for writer in LedgerFacts(folder).look()] == [1, 0]


@pytest.mark.parametrize(
    ("next_offsets", "lag"),
    [
        ({0: 40}, 60),
        ({0: 100}, 0),
        # The ends were asked for before the ledger came so far.
        ({0: 130}, 0),
        # Nothing is published of it, or its first records are gone: what is there waits.
        ({}, 90),
        ({0: 3}, 90),
    ],
)
def test_the_lag_of_a_partition(next_offsets, lag):
    assert lags(Ends(first={0: 10}, behind={0: 100}), next_offsets) == {0: lag}


def test_a_partition_without_a_leader_has_no_lag():
    assert lags(Ends(first={0: 0}, behind={0: 5, 1: 5}), {0: 1, 1: 1}) == {0: 4}
