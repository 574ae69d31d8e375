"""The state of one key group: its counters, the values its unique meters have met, and how far each input was applied.

Snapshots are versioned plain bytes that name subscriptions and charges by their ids, so that they stay valid when the
catalog grows or its order changes. Counters whose subscription or charge the catalog no longer has are kept aside,
untouched. The duplicate index is no part of a snapshot: it is rebuilt from the ledger.
"""

import io
from dataclasses import dataclass, field

import msgspec
import numpy as np
import polars as pl

from rating import wide
from rating.catalog import CompiledCatalog
from rating.dedupe import DuplicateIndex, Sightings, hash_identities
from rating.measures import PERIOD_BITS, counter_keys, most_charges
from rating.prices import Index
from rating.usage import Counters
from rating.wide import Wide

SNAPSHOT_VERSION = 1
_SPARSE = {"total": 0, "weighted": 0, "count": 0, "latest_time": np.iinfo(np.int64).min}
_REMEMBERED = ("rated", "exempt", "trial", "blocked")


class _Snapshot(msgspec.Struct, array_like=True):
    """`charges` lists (product id, version, charge id); `counters` and `orphans` are Arrow IPC, columns as `_frame`."""

    version: int
    key_group: int
    applied: dict[int, int]
    charges: list[tuple[str, str, str]]
    counters: bytes
    orphans: bytes
    values: bytes


@dataclass(slots=True)
class GroupState:
    """One key group. `applied`: input partition to last offset applied. `values`: identities of unique values met."""

    key_group: int
    counters: Counters
    duplicates: DuplicateIndex
    values: DuplicateIndex
    applied: dict[int, int] = field(default_factory=dict)
    orphans: pl.DataFrame | None = None

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

    def snapshot(self, catalog: CompiledCatalog) -> bytes:
        """The state as versioned plain bytes."""
        charges = catalog.charges
        products = catalog.products
        names = [
            (products.ids[product], products.versions[product], charge)
            for charge, product in zip(charges.ids, charges.product.tolist(), strict=True)
        ]
        orphans = b"" if self.orphans is None else _to_bytes(self.orphans)
        stored = _Snapshot(
            SNAPSHOT_VERSION,
            self.key_group,
            self.applied,
            names,
            _to_bytes(_frame(self.counters, catalog)),
            orphans,
            self.values.to_bytes(),
        )
        return msgspec.msgpack.encode(stored)

    @classmethod
    def load(cls, snapshot: bytes, catalog: CompiledCatalog, lateness: int | None = None) -> "GroupState":
        """The state that `snapshot` gave, under this catalog; the duplicate index is empty."""
        stored = msgspec.msgpack.decode(snapshot, type=_Snapshot)
        assert stored.version == SNAPSHOT_VERSION, f"rating state of version {stored.version} is not known"
        state = cls.new(stored.key_group, lateness)
        state.applied = stored.applied
        state.values = DuplicateIndex.from_bytes(stored.values)
        frame = pl.read_ipc(stored.counters, use_pyarrow=False)
        frame = _with_names(frame, stored.charges)
        if stored.orphans:
            frame = pl.concat([frame, pl.read_ipc(stored.orphans)], how="diagonal")
        state.counters, state.orphans = _restore(frame, catalog)
        return state


def _frame(counters: Counters, catalog: CompiledCatalog) -> pl.DataFrame:
    """Counters as a table: subscription, charge (row of the catalog), period, usage; other columns only where used."""
    rows = np.argsort(counters.keys[: counters.held])
    keys = counters.keys[rows]
    owner, charge = _parts(keys, catalog)
    columns = {
        "subscription": catalog.subscriptions.ids.gather(owner),
        "charge": pl.Series(charge).cast(pl.UInt32),
        "period": pl.Series(keys & ((1 << PERIOD_BITS) - 1)).cast(pl.UInt32),
        "usage": wide.to_series(counters.usage[rows], 0),
        "total": wide.to_series(counters.total[rows], 0),
        "weighted": wide.to_series(counters.weighted[rows], 0),
        "count": pl.Series(counters.count[rows]),
        "latest_time": pl.Series(counters.latest_time[rows]),
    }
    kept = [
        column.alias(name)
        for name, column in columns.items()
        if name not in _SPARSE or not (column == _SPARSE[name]).all()
    ]
    return pl.DataFrame(kept)


def _parts(keys: Index, catalog: CompiledCatalog) -> tuple[Index, Index]:
    """The subscription's row and the charge's row of each key."""
    counter = keys >> PERIOD_BITS
    owner, place = np.divmod(counter, most_charges(catalog))
    return owner, catalog.products.first_charge[catalog.subscriptions.product[owner]] + place


def _with_names(frame: pl.DataFrame, charges: list[tuple[str, str, str]]) -> pl.DataFrame:
    names = pl.DataFrame(
        {
            "charge": pl.Series(range(len(charges)), dtype=pl.UInt32),
            "product_id": pl.Series([name[0] for name in charges], dtype=pl.String),
            "version": pl.Series([name[1] for name in charges], dtype=pl.String),
            "charge_id": pl.Series([name[2] for name in charges], dtype=pl.String),
        }
    )
    return frame.join(names, on="charge", how="left", maintain_order="left").drop("charge")


def _restore(frame: pl.DataFrame, catalog: CompiledCatalog) -> tuple[Counters, pl.DataFrame | None]:
    """Counters under this catalog, and those that it has no place for."""
    frame = frame.with_columns(
        pl.lit(value).alias(name) for name, value in _SPARSE.items() if name not in frame.columns
    )
    names = catalog.products.ids, catalog.products.versions
    charges = catalog.charges
    rows = {
        (names[0][product], names[1][product], charge): row
        for row, (charge, product) in enumerate(zip(charges.ids, charges.product.tolist(), strict=True))
    }
    known = catalog.subscription_rows
    owner = np.array([known.get(name, -1) for name in frame["subscription"]], np.int64)
    triples = zip(frame["product_id"], frame["version"], frame["charge_id"], strict=True)
    charge = np.array([rows.get(triple, -1) for triple in triples], np.int64)
    placed = (owner >= 0) & (charge >= 0)
    placed[placed] = catalog.subscriptions.product[owner[placed]] == charges.product[charge[placed]]
    keys = counter_keys(catalog, owner[placed], charge[placed], frame["period"].cast(pl.Int64).to_numpy()[placed])
    counters = _counters(frame.filter(placed), keys)
    return counters, None if placed.all() else frame.filter(~placed)


def _counters(frame: pl.DataFrame, keys: Index) -> Counters:
    return Counters.of(
        keys=keys,
        usage=_wide(frame["usage"]),
        total=_wide(frame["total"]),
        weighted=_wide(frame["weighted"]),
        count=frame["count"].cast(pl.Int64).to_numpy().copy(),
        latest_time=frame["latest_time"].cast(pl.Int64).to_numpy().copy(),
    )


def _wide(column: pl.Series) -> Wide:
    return wide.from_series(column.cast(pl.Int128)).copy()


def _to_bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()
