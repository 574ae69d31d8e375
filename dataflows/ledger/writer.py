"""One writer of the ledger: rows go aside, a commit seals them, and once it has been kept it is published.

Owns: the writer's files and its manifest. Does not own: when a commit happens, or which rows it gets (the engine says).
The rule: a file with a public name belongs to a commit that can never be undone. `keep` says that all that are closed
were kept; without it `seal` proves it of the commit *before*. After a crash, `resume` publishes what was kept, and
removes what was not.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import polars as pl

from dataflows.ledger import manifest
from dataflows.ledger.commit import LanePosition, Tally, WriterState, commit_row, digest_of
from dataflows.ledger.compaction import Housekeeping, Merge, merge, plan_compaction
from dataflows.ledger.folder import LedgerFolder, sync
from dataflows.ledger.manifest import Manifest, PublishedFile
from dataflows.ledger.publication import file_name, make_public, publish_without_expired, resume
from dataflows.ledger.tables import TableFile
from schemas.ledger import TABLES


class LedgerWriter:
    """The commits of one writer, from the state of its last kept commit (`WriterState.snapshot`; None for none)."""

    def __init__(self, folder: LedgerFolder, writer: int, snapshot: bytes | None, keeping: Housekeeping) -> None:
        self._folder = folder
        self._writer = writer
        self._flow = "rating" if writer in folder.writers() else "settlement"
        self._keeping = keeping
        self._state = WriterState.load(snapshot)
        self._manifest = resume(folder, writer, self._state.sequence)
        self._kept = self._state.sequence
        self._files: dict[str, TableFile] = {}
        self._tally = Tally()
        self._lanes: dict[int, LanePosition] = {}
        self._catalog = self._state.catalog

    @property
    def number(self) -> int:
        """Which writer of the ledger this is."""
        return self._writer

    @property
    def lanes(self) -> Mapping[int, LanePosition]:
        """How far each input was read in the last commit that was closed."""
        return self._state.lanes

    @property
    def catalog(self) -> str:
        """The digest of the catalog in force in the last commit that was closed."""
        return self._state.catalog

    def append(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, int]:
        """Add rows of tables to the open commit; gives the number of events per verdict.

        They reach the disk group by group.
        """
        for table, rows in tables.items():
            if rows.height:
                self._file(table).append(rows)
        return self._tally.add(tables)

    def announce(self, received: int, partition: int, position: LanePosition, catalog: str) -> None:
        """Say that `received` records come in the open commit, up to a position of an input partition.

        `catalog` is the digest of the catalog in effect there.
        """
        self._tally.received += received
        self._lanes[partition] = position.after(self._lanes.get(partition) or self._state.lanes.get(partition))
        self._catalog = catalog

    def seal(self) -> bytes:
        """Close the open commit, if anything is in it, and give the state after it; the commit before has been kept."""
        before = self._state
        self._kept = before.sequence
        if self._lanes:
            arrived = self._tally.rows["events"]
            assert self._tally.received == arrived, (
                f"writer {self._writer}, commit {before.sequence}: {self._tally.received} records were announced,"
                f" {arrived} arrived"
            )
            digest = digest_of(self._writer, before, self._tally, self._catalog)
            after = WriterState(before.sequence + 1, digest, before.lanes | self._lanes, self._catalog)
            row = commit_row(self._flow, self._writer, before, after, self._tally)
            self._file("commits").append_arrow(row)
            for file in self._files.values():
                file.close()
            sync(self._folder.pending)
            self._state, self._files, self._lanes, self._tally = after, {}, {}, Tally()
        return self._state.snapshot()

    def keep(self) -> None:
        """Every commit that was closed has been kept."""
        self._kept = self._state.sequence

    def publish(self, merges: Sequence[Merge] = ()) -> None:
        """Publish the commits that were kept, and `merges` instead of what they replace; let go of replaced files."""
        first = self._manifest.next_sequence
        new = [file for number in range(first, self._kept) for file in make_public(self._folder, self._writer, number)]
        if new or merges:
            self._manifest = _published(self._folder, self._writer, self._manifest, new, merges, self._keeping)

    def merge(self) -> list[Merge]:
        """Merge small published files; `publish` must be given what comes of it before this is called again.

        May run beside everything else: published files stay, and those of later commits have other names.
        """
        return _merged(self._folder, self._writer, self._manifest, self._keeping)

    def _file(self, table: str) -> TableFile:
        if table not in self._files:
            path = self._folder.pending / file_name(table, self._writer, self._state.sequence)
            self._files[table] = TableFile(table, path, keeps_texts=self._flow == "settlement")
        return self._files[table]


def merge_all(folder: LedgerFolder, keeping: Housekeeping) -> None:
    """Merge what a run, which has ended, has left to be merged."""
    for writer in folder.writers():
        state = manifest.load(folder.manifest(writer))
        while merges := _merged(folder, writer, state, keeping):
            state = _published(folder, writer, state, [], merges, keeping)


def _merged(folder: LedgerFolder, writer: int, state: Manifest, keeping: Housekeeping) -> list[Merge]:
    plans = [plan for table in TABLES if (plan := plan_compaction(state.live(table), keeping))]
    return [merge(folder, writer, plan) for plan in plans]


def _published(
    folder: LedgerFolder,
    writer: int,
    state: Manifest,
    new: Sequence[PublishedFile],
    merges: Sequence[Merge],
    keeping: Housekeeping,
) -> Manifest:
    replaced = {file.name for merge in merges for file in merge.replaced}
    state_from = partial(state.replaced, replaced, [*new, *(merge.merged for merge in merges)])
    return publish_without_expired(folder, writer, state_from, round(keeping.replaced_files_grace * 1_000_000))
