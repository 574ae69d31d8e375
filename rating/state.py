"""The state of one key group: its counters, the values its unique meters have met, and how far each input was applied.

Snapshots are versioned plain bytes that name subscriptions and charges by 128-bit hashes of their ids, so that they
stay valid when the catalog grows or its order changes. Counters whose subscription or charge the catalog no longer has
are kept aside, untouched; of quotas that share counters `sharing` knows. The duplicate index is no part of a snapshot:
it is rebuilt from the ledger.
"""

from dataclasses import dataclass, field

import msgspec
import numpy as np
import polars as pl

from rating.catalog import CompiledCatalog
from rating.dedupe import DuplicateIndex, Sightings, hash_identities
from rating.ended import ended_windows
from rating.kept import KeptCounters
from rating.pairs import counted_of, counter_keys, periods_of
from rating.sharing import Placed, Sharing, begun, ended
from rating.usage import Counters, Keys

SNAPSHOT_VERSION = 2
# Before quotas shared counters.
_FIRST_VERSION = 1
_REMEMBERED = ("rated", "exempt", "trial", "blocked")


class _Snapshot(msgspec.Struct, array_like=True):
    version: int
    key_group: int
    applied: dict[int, int]
    counters: bytes
    values: bytes
    sharing: bytes = b""


@dataclass(slots=True)
class GroupState:
    """One key group. `applied`: input partition to last offset applied. `values`: identities of unique values met.

    `apart` are the keys of charges' counters whose quotas count apart, although they share them elsewhere. Windows that
    ended by `let_go_before` (microseconds UTC) have no counters any more; it follows from the duplicate index.
    """

    key_group: int
    counters: Counters
    duplicates: DuplicateIndex
    values: DuplicateIndex
    applied: dict[int, int] = field(default_factory=dict)
    orphans: KeptCounters | None = None
    apart: Keys = field(default_factory=lambda: np.zeros(0, np.int64))
    let_go_before: int | None = None

    @classmethod
    def new(cls, key_group: int, lateness: int | None = None) -> "GroupState":
        """The state before the first event; `lateness` in microseconds bounds the duplicate index."""
        return cls(key_group, Counters.empty(), DuplicateIndex(lateness), DuplicateIndex(None))

    def remember(self, events: pl.DataFrame) -> None:
        """Rebuilds the duplicate index from rows of the ledger's `events` that belong to this key group."""
        seen = events.filter(pl.col("verdict").is_in(_REMEMBERED))
        if seen.is_empty():
            return
        partition = seen["partition"].cast(pl.Int64).to_numpy()
        position = seen["offset"].to_numpy() | (partition << 48)
        record_time = seen["record_time"].to_physical().to_numpy()
        self.duplicates.remember(Sightings(hash_identities(seen["event_id"], seen["source"]), position, record_time))

    def let_go(self, catalog: CompiledCatalog) -> None:
        """Lets go of the counters of windows into which no event can come any more.

        An event that is not late is not older than its record's time less the lateness, so not before the floor.
        """
        moment = self.duplicates.floor
        if moment is None or moment == self.let_go_before:
            return
        self.let_go_before = moment
        ended = ended_windows(self.counters.keys[: self.counters.held], moment, catalog)
        if ended.any():
            self.counters = self.counters.take(np.flatnonzero(~ended))

    def under(self, old: CompiledCatalog, new: CompiledCatalog) -> "GroupState":
        """The same state under another catalog; counters that it has no place for are kept aside. Consumes this one."""
        moved = GroupState.load(self.snapshot(old), new)
        moved.duplicates = self.duplicates
        return moved

    def snapshot(self, catalog: CompiledCatalog) -> bytes:
        """The state as versioned plain bytes."""
        kept = _kept(self.counters, catalog)
        if self.orphans is not None:
            kept = kept.and_also(self.orphans)
        parts = kept.to_bytes(), self.values.to_bytes(), Sharing.under(catalog).to_bytes()
        stored = _Snapshot(SNAPSHOT_VERSION, self.key_group, self.applied, *parts)
        return msgspec.msgpack.encode(stored)

    @classmethod
    def load(cls, snapshot: bytes, catalog: CompiledCatalog, lateness: int | None = None) -> "GroupState":
        """The state that `snapshot` gave, under this catalog; the duplicate index is empty."""
        stored = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        assert stored.version in (_FIRST_VERSION, SNAPSHOT_VERSION), (
            f"rating state of version {stored.version} is not known"
        )
        state = cls.new(stored.key_group, lateness)
        state.applied = stored.applied
        state.values = DuplicateIndex.from_bytes(stored.values)
        before = Sharing.from_bytes(stored.sharing)
        kept = KeptCounters.from_bytes(stored.counters)
        placed, state.orphans = _placed(ended(kept, before, catalog), catalog)
        placed = begun(placed, before, kept.charges, catalog)
        here = placed.held
        columns = here.usage, here.total, here.weighted, here.peak, here.count, here.latest_time
        state.counters, state.apart = Counters.of(placed.keys, *columns), placed.apart
        return state


def _kept(counters: Counters, catalog: CompiledCatalog) -> KeptCounters:
    held = slice(counters.held)
    owner, charge = counted_of(catalog, counters.keys[held])
    return KeptCounters(
        charges=catalog.charges.hashes,
        owner=np.take(catalog.subscriptions.hashes, owner, axis=0),
        charge=charge.astype(np.uint32),
        period=periods_of(counters.keys[held]).astype(np.uint32),
        usage=counters.usage[held],
        total=counters.total[held],
        weighted=counters.weighted[held],
        peak=counters.peak[held],
        count=counters.count[held],
        latest_time=counters.latest_time[held],
    )


def _placed(kept: KeptCounters, catalog: CompiledCatalog) -> tuple[Placed, KeptCounters | None]:
    """Counters under this catalog, and those that it has no place for."""
    owner = catalog.subscriptions.rows_of_hashes(kept.owner)
    rows = {tuple(pair): row for row, pair in enumerate(catalog.charges.hashes.tolist())}
    charge = np.array([rows.get(tuple(pair), -1) for pair in kept.charges.tolist()], np.int64)[kept.charge]
    known = (owner >= 0) & (charge >= 0)
    known[known] = catalog.subscriptions.product[owner[known]] == catalog.charges.product[charge[known]]
    placed = np.flatnonzero(known)
    here = kept.take(placed)
    keys = counter_keys(catalog, owner[placed], charge[placed], here.period.astype(np.int64))
    others = None if known.all() else kept.take(np.flatnonzero(~known))
    return Placed(keys, here, charge[placed], np.zeros(0, np.int64)), others
