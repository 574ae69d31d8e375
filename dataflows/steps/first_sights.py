"""The duplicate index of every key group, rebuilt from the ledger once per process when a flow starts.

The rule: what stands in the ledger, as far back as the lateness reaches, is what has been seen. Files are read group of
rows by group of rows, and groups that are too old not at all, so memory and time are those of the index.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.published import live_files
from dataflows.moments import datetime_of
from dataflows.preparation import lane_progress
from rating.batch import key_group_of
from rating.catalog import CompiledCatalog
from rating.dedupe import reach_of
from rating.engine import GroupState, RatingSettings
from schemas.ledger import EVENTS

_COLUMNS = ["partition", "offset", "record_time", "source", "event_id", "subscription_id", "verdict"]
_SEEN = ["rated", "exempt", "trial", "blocked"]
_ROWS_AT_ONCE = 524_288


@dataclass(slots=True)
class FirstSights:
    """Hands each key group its duplicate index, once; the ledger is read when the first one asks.

    `partitions` are those from which records may come. Made before the engine runs: it looks into the recovery store.
    """

    folder: LedgerFolder
    settings: RatingSettings
    partitions: Collection[int] = ()
    _groups: dict[int, GroupState] | None = None
    _horizon: int | None = field(init=False)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self._horizon = self._find_horizon()

    def give(self, state: GroupState, catalog: CompiledCatalog) -> GroupState:
        """The state with the duplicate index of its key group; `catalog`, any version, only makes finding it faster."""
        # Workers of one process are threads.
        with self._lock:
            if self._groups is None:
                self._groups = self._read(catalog)
            remembered = self._groups.pop(state.key_group, None)
        if remembered is not None:
            state.duplicates = remembered.duplicates
        state.duplicates.expect(self.partitions)
        if self._horizon is not None:
            state.duplicates.know_nothing_before(self._horizon)
        return state

    def _read(self, catalog: CompiledCatalog) -> dict[int, GroupState]:
        groups: dict[int, GroupState] = {}
        for events in self._events():
            numbers = _key_groups(events["subscription_id"], catalog, self.settings.key_groups)
            for (group,), share in events.with_columns(group=numbers).partition_by("group", as_dict=True).items():
                if group not in groups:
                    groups[group] = GroupState.new(group, self.settings.lateness)
                    groups[group].duplicates.expect(self.partitions)
                groups[group].remember(share)
        return groups

    def _find_horizon(self) -> int | None:
        """The moment (microseconds UTC) before which nothing counts for any input any more; None if all may count."""
        moments = lane_progress(self.folder)
        unknown = None in moments.values() or not moments.keys() >= set(self.partitions)
        if self.settings.lateness is None or not moments or unknown:
            return None
        return min(moment for moment in moments.values() if moment is not None) - reach_of(self.settings.lateness)

    def _events(self) -> Iterator[pl.DataFrame]:
        for path in live_files(self.folder.root, "events"):
            with pq.ParquetFile(path) as file:
                groups = [row for row in range(file.num_row_groups) if self._may_count(file.metadata.row_group(row))]
                for batch in file.iter_batches(_ROWS_AT_ONCE, groups, columns=_COLUMNS, use_threads=False):
                    yield pl.DataFrame(pl.from_arrow(batch)).filter(
                        pl.col("verdict").is_in(_SEEN) & pl.col("subscription_id").is_not_null()
                    )

    def _may_count(self, group: pq.RowGroupMetaData) -> bool:
        if self._horizon is None:
            return True
        times = group.column(EVENTS.names.index("record_time")).statistics
        # Without statistics it was written by an earlier version.
        return times is None or times.max is None or times.max >= datetime_of(self._horizon)


def _key_groups(subscriptions: pl.Series, catalog: CompiledCatalog, key_groups: int) -> pl.Series:
    """The key group of each event's subscription; one that the catalog no longer has is hashed anew."""
    rows = catalog.subscription_lookup.rows_of(subscriptions)
    groups = np.zeros(len(rows), np.uint16)
    known = np.flatnonzero(rows >= 0)
    groups[known] = catalog.subscriptions.id_hash[rows[known]] % np.uint32(key_groups)
    for row in np.flatnonzero(rows < 0).tolist():
        groups[row] = key_group_of(subscriptions[row], key_groups)
    return pl.Series("group", groups)
