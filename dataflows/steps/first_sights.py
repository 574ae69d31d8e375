"""The duplicate index of every key group, rebuilt from the ledger once per process when a flow starts.

The rule: what stands in the ledger is what has been seen. Files are read group of rows by group of rows, so the memory
needed is that of the index, not of the ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.published import live_files
from rating.batch import key_group_of
from rating.catalog import CompiledCatalog
from rating.engine import GroupState, RatingSettings

_COLUMNS = ["partition", "offset", "record_time", "source", "event_id", "subscription_id", "verdict"]
_SEEN = ["rated", "exempt", "trial", "blocked"]
_ROWS_AT_ONCE = 524_288


@dataclass(slots=True)
class FirstSights:
    """Hands each key group its duplicate index, once; the ledger is read when the first one asks."""

    folder: LedgerFolder
    settings: RatingSettings
    _groups: dict[int, GroupState] | None = None
    _lock: Lock = field(default_factory=Lock)

    def give(self, state: GroupState, catalog: CompiledCatalog) -> GroupState:
        """The state with the duplicate index of its key group; `catalog`, any version, only makes finding it faster."""
        # Workers of one process are threads.
        with self._lock:
            if self._groups is None:
                self._groups = self._read(catalog)
            remembered = self._groups.pop(state.key_group, None)
        if remembered is not None:
            state.duplicates = remembered.duplicates
        return state

    def _read(self, catalog: CompiledCatalog) -> dict[int, GroupState]:
        groups: dict[int, GroupState] = {}
        for events in self._events():
            numbers = _key_groups(events["subscription_id"], catalog, self.settings.key_groups)
            for (group,), share in events.with_columns(group=numbers).partition_by("group", as_dict=True).items():
                if group not in groups:
                    groups[group] = GroupState.new(group, self.settings.lateness)
                groups[group].remember(share)
        return groups

    def _events(self) -> Iterator[pl.DataFrame]:
        for path in live_files(self.folder.root, "events"):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=_COLUMNS, use_threads=False):
                    yield pl.DataFrame(pl.from_arrow(batch)).filter(
                        pl.col("verdict").is_in(_SEEN) & pl.col("subscription_id").is_not_null()
                    )


def _key_groups(subscriptions: pl.Series, catalog: CompiledCatalog, key_groups: int) -> pl.Series:
    """The key group of each event's subscription; one that the catalog no longer has is hashed anew."""
    rows = catalog.subscription_lookup.rows_of(subscriptions)
    groups = np.zeros(len(rows), np.uint16)
    known = np.flatnonzero(rows >= 0)
    groups[known] = catalog.subscriptions.id_hash[rows[known]] % np.uint32(key_groups)
    for row in np.flatnonzero(rows < 0).tolist():
        groups[row] = key_group_of(subscriptions[row], key_groups)
    return pl.Series("group", groups)
