"""Counters as they are kept in a snapshot: columns of plain bytes, packed with LZ4.

Columns that no counter uses are left out. The format is part of the recovery state: changes need a new version.
"""

from dataclasses import dataclass, fields, replace

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rating.prices import Index
from rating.usage import NEVER
from rating.wide import Wide

_PACKING = "lz4_raw"
_WIDE = {"charges", "owner", "usage", "total", "weighted", "peak"}
_TYPES = {"charge": np.uint32, "period": np.uint32, "count": np.int64, "latest_time": np.int64}


class _Stored(msgspec.Struct, array_like=True):
    """`columns` hold the packed bytes of those columns that are not at their start everywhere."""

    charges: int
    counters: int
    columns: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class KeptCounters:
    """One row per counter. `owner` (n, 2) uint64 is the hash of its subscription, `charge` its row of `charges`.

    `charges` (k, 2) uint64 are hashes of charges. The other columns are as in `usage.Counters`.
    """

    charges: npt.NDArray[np.uint64]
    owner: npt.NDArray[np.uint64]
    charge: npt.NDArray[np.uint32]
    period: npt.NDArray[np.uint32]
    usage: Wide
    total: Wide
    weighted: Wide
    peak: Wide
    count: Index
    latest_time: Index

    def take(self, rows: Index) -> "KeptCounters":
        """These counters, and only the charges that they have."""
        taken = {field.name: np.take(getattr(self, field.name), rows, axis=0) for field in fields(self)[1:]}
        used, charge = np.unique(taken["charge"], return_inverse=True)
        return KeptCounters(**taken | {"charges": self.charges[used], "charge": charge.astype(np.uint32)})

    def and_also(self, others: "KeptCounters") -> "KeptCounters":
        """These and others, whose charges come after these ones."""
        moved = {"charge": others.charge + np.uint32(len(self.charges))}
        both = {
            field.name: np.concatenate([getattr(self, field.name), moved.get(field.name, getattr(others, field.name))])
            for field in fields(self)
        }
        return KeptCounters(**both)

    def at_start(self) -> "KeptCounters":
        """The same counters before their first event."""
        columns = fields(self)[4:]
        return replace(self, **{one.name: np.full_like(getattr(self, one.name), _start(one.name)) for one in columns})

    def to_bytes(self) -> bytes:
        """As plain bytes; the two halves of wide numbers stand apart, for the upper one mostly is zero."""
        columns = {}
        for field in fields(self):
            values = getattr(self, field.name)
            if (values != _start(field.name)).any():
                columns[field.name] = pa.compress(np.ascontiguousarray(values.T).tobytes(), _PACKING, asbytes=True)
        return msgspec.msgpack.encode(_Stored(len(self.charges), len(self.owner), columns))

    @classmethod
    def from_bytes(cls, packed: bytes) -> "KeptCounters":
        """What `to_bytes` gave."""
        stored = msgspec.msgpack.decode(packed, type=_Stored)
        columns = {}
        for field in fields(cls):
            height = stored.charges if field.name == "charges" else stored.counters
            kind = np.dtype(np.uint64 if field.name in _WIDE else _TYPES[field.name])
            shape = (2, height) if field.name in _WIDE else (height,)
            if field.name in stored.columns:
                size = kind.itemsize * int(np.prod(shape))
                content = pa.decompress(stored.columns[field.name], size, _PACKING)
                columns[field.name] = np.ascontiguousarray(np.frombuffer(content, kind).reshape(shape).T)
            else:
                columns[field.name] = np.full(shape[::-1], _start(field.name), kind)
        return cls(**columns)


def _start(name: str) -> int:
    """What a counter holds before its first event."""
    return NEVER if name == "latest_time" else 0
