"""Reading a ledger commit by commit gives each one the rows that it wrote, whatever was merged before or meanwhile."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflows.errors import RatemillError
from dataflows.ledger import commit_rows, manifest
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.commit_rows import CommitReader
from dataflows.ledger.compaction import Housekeeping
from dataflows.ledger.folder import LedgerFolder, open_folder
from dataflows.ledger.writer import LedgerWriter
from schemas.ledger import COUNTED, RATED, polars_schema
from tests.ledger.sealing import seal

KEEPING = Housekeeping(merge_files=3, merged_rows_limit=300, replaced_files_grace=0.0)
FILLINGS = {pl.String: "", pl.Boolean: False, pl.List: []}


class Writing:
    """A writer that commits rows at random, and remembers what it wrote."""

    def __init__(self, folder: LedgerFolder, rng: random.Random, keeping: Housekeeping = KEEPING) -> None:
        self.rng = rng
        self.offset = 0
        self.wrote: list[dict[str, list[int]]] = []
        self.writer = LedgerWriter(folder, 0, None, keeping)

    def commit(self) -> None:
        own = {table: self._offsets(table) for table in RATED}
        self.writer.append({table: rows(table, own[table]) for table in RATED})
        self.writer.announce(len(own["events"]), 0, LanePosition(self.offset, None), "catalog")
        seal(self.writer)
        self.wrote.append(own)

    def _offsets(self, table: str) -> list[int]:
        first = self.offset
        # Many commits have no rows of a table, and then no file of it.
        self.offset += self.rng.choice([0, 0, 1, 2, 40])
        return list(range(first, self.offset))


def rows(table: str, offsets: list[int]) -> pl.DataFrame:
    schema = polars_schema(COUNTED[table])
    columns = {
        name: pl.repeat(filling(name, kind), len(offsets), dtype=kind, eager=True) for name, kind in schema.items()
    }
    return pl.DataFrame(columns | {"offset": pl.Series(offsets, dtype=pl.Int64)}, schema=schema)


def filling(name: str, kind: pl.DataType) -> object:
    named = {"verdict": "rejected", "notification_id": "0a" * 16}
    return named.get(name, FILLINGS.get(type(kind), 0))


def read(reader: CommitReader, sequence: int) -> dict[str, list[int]]:
    commit = reader.commit(sequence)
    assert commit.sequence == sequence
    found = {
        table: [offset for frame in reader.rows(commit, table, ("offset",)) for offset in frame["offset"]]
        for table in RATED
    }
    assert {table: len(offsets) for table, offsets in found.items()} == {table: commit.counts[table] for table in RATED}
    return found


@pytest.fixture
def folder(tmp_path) -> LedgerFolder:
    return open_folder(tmp_path / "ledger", 16, 1)


@pytest.mark.parametrize("seed", range(5))
def test_from_any_commit_while_files_are_merged_and_removed(folder, seed, monkeypatch):
    """Readers that begin anywhere, and stop anywhere while the writer goes on, with small windows and frames."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    monkeypatch.setattr(commit_rows, "FRAME_ROWS", rng.choice([1, 7, 16_384]))
    monkeypatch.setattr(commit_rows, "_COMMITS_AT_ONCE", rng.choice([1, 4, 65_536]))
    writing = Writing(folder, rng)
    readers: list[tuple[CommitReader, int]] = []
    for _ in range(40):
        for _ in range(rng.choice([1, 1, 5])):
            writing.commit()
        readers.append((CommitReader(folder, 0), rng.randrange(len(writing.wrote))))
        readers = [advance(reader, place, writing, rng) for reader, place in rng.sample(readers, min(3, len(readers)))]
    reader = CommitReader(folder, 0)
    assert reader.published >= len(writing.wrote) - 1
    assert [read(reader, number) for number in range(reader.published)] == writing.wrote[: reader.published]
    levels = {file.level for file in manifest.load(folder.manifest(0)).files}
    assert max(levels) >= 2, "little was merged"


def advance(reader: CommitReader, place: int, writing: Writing, rng: random.Random) -> tuple[CommitReader, int]:
    if rng.random() < 0.5:
        reader.look()
    end = min(reader.published, place + rng.randrange(12))
    for number in range(place, end):
        assert read(reader, number) == writing.wrote[number]
    return reader, max(place, end)


def test_row_groups_are_read_one_at_a_time(folder, monkeypatch):
    """A merged file of several row groups, of which commits begin and end anywhere."""
    monkeypatch.setattr("dataflows.ledger.tables.ROW_GROUP_ROWS", 50)
    writing = Writing(folder, random.Random(1), replace(KEEPING, merged_rows_limit=100_000))
    for _ in range(82):
        writing.commit()
    reader = CommitReader(folder, 0)
    assert any(pq.read_metadata(path).num_row_groups > 3 for path in live(folder, "events"))
    assert [read(reader, number) for number in range(reader.published)] == writing.wrote[: reader.published]


def live(folder: LedgerFolder, table: str) -> Iterator[Path]:
    return (folder.table(table) / file.name for file in manifest.load(folder.manifest(0)).live(table))


def test_a_commit_that_a_merge_took_along_before_it_was_read(folder):
    """The file that held it has gone; a reader that knows only the old manifest looks again."""
    writing = Writing(folder, random.Random(3))
    for _ in range(2):
        writing.commit()
    reader = CommitReader(folder, 0)
    for _ in range(30):
        writing.commit()
    assert not (folder.table("commits") / "commits-99-w0-0000000000-0000000000.parquet").exists()
    assert read(reader, 0) == writing.wrote[0]


def test_damage_is_told(folder):
    writing = Writing(folder, random.Random(4))
    for _ in range(30):
        writing.commit()
    file = next(live(folder, "events"))
    content = file.read_bytes()
    sequence = int(file.stem[-21:-11])
    with pytest.raises(
        RatemillError, match=rf"the ledger {folder.root} is damaged: {file.name} is missing; restore it"
    ):
        file.unlink()
        read(CommitReader(folder, 0), sequence)
    with pytest.raises(RatemillError, match="is damaged: Parquet magic bytes not found in footer"):
        file.write_bytes(content[:-1])
        read(CommitReader(folder, 0), sequence)
    with pytest.raises(
        RatemillError, match=r"is damaged: .* has 1 rows; by the manifest it has \d+, and by its commits"
    ):
        pq.write_table(pq.read_table(next(live(folder, "line_items")), partitioning=None).slice(0, 1), file)
        read(CommitReader(folder, 0), sequence)
