"""What one commit of one writer says of itself: positions, progress, counts per verdict, and a digest that chains.

The rule: what was announced (`received`) must have arrived (`events`); a difference is our bug and stops the flow.
The digest is over sums that anybody can compute again from the rows in any order, and over the digest before it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa

from dataflows.errors import RatemillError
from schemas.ledger import COMMITS, COUNTED
from schemas.verdicts import VERDICT_LABELS

_WRAP = 1 << 128
# The sum of each frame wraps here, so that of all frames must, or it would depend on how rows were cut into frames.
_WRAP_OF_CONTENT = 1 << 64
_SUMS = ("offset", "content", "quantity", "amount", "notification", "remaining", "total", "line_amount", "period")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LanePosition(msgspec.Struct, frozen=True, array_like=True):
    """How far one input partition is in the ledger: next offset, and progress in microseconds (None: no time yet)."""

    next_offset: int
    progress: int | None
    finished: bool = False

    def after(self, earlier: "LanePosition | None") -> "LanePosition":
        """This position, with a progress that does not fall behind an earlier one: record times may go back."""
        known = [at.progress for at in (earlier, self) if at is not None and at.progress is not None]
        return msgspec.structs.replace(self, progress=max(known, default=None))


class WriterState(msgspec.Struct, frozen=True, array_like=True):
    """What a writer remembers from commit to commit; `catalog` is the digest of the catalog in force."""

    sequence: int = 0
    digest: str = ""
    lanes: dict[int, LanePosition] = {}
    catalog: str = ""

    def snapshot(self) -> bytes:
        """The state as plain bytes, led by their version."""
        return b"1" + msgspec.json.encode(self)

    @classmethod
    def load(cls, snapshot: bytes | None) -> "WriterState":
        """The state that `snapshot` gave; a new one for None."""
        if snapshot is None:
            return cls()
        assert snapshot[:1] == b"1", f"a writer's state of version {snapshot[:1]!r}"
        return msgspec.json.decode(snapshot[1:], type=cls)


@dataclass(slots=True)
class Tally:
    """Counts and sums of the rows of a commit, whatever their order."""

    received: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))

    def add(self, tables: Mapping[str, pl.DataFrame]) -> dict[str, int]:
        """Count rows of tables; gives the number of events per verdict."""
        counts: dict[str, int] = {}
        for table, rows in tables.items():
            self.rows[table] += rows.height
            match table:
                case "events":
                    counts = dict(rows["verdict"].value_counts().iter_rows())
                    self.verdicts.update(counts)
                    content = rows["content_digest"].fill_null(0).to_numpy().sum(dtype=np.uint64)
                    self._sum("offset", int(rows["offset"].sum()))
                    self._sum("content", int(content), _WRAP_OF_CONTENT)
                case "line_items":
                    self._sum("quantity", _units(rows["quantity"]))
                    self._sum("amount", _units(rows["amount"]))
                case "notifications":
                    self._sum("notification", _hexadecimal(rows["notification_id"]))
                case "quota_verdicts":
                    self._sum("remaining", _units(rows["remaining"]))
                case "invoices":
                    self._sum("total", _units(rows["total"]))
                case "invoice_lines":
                    self._sum("line_amount", _units(rows["exact_amount"]))
                case "settled_periods":
                    self._sum("period", int(rows["period"].sum()))
        return counts

    def _sum(self, name: str, value: int, wrap: int = _WRAP) -> None:
        self.sums[name] = (self.sums[name] + value) % wrap


def _units(decimals: pl.Series) -> int:
    """The sum in units of the last digit, modulo 2^128."""
    return int(decimals.to_physical().sum() or 0) % _WRAP


def _hexadecimal(names: pl.Series) -> int:
    """The sum of names of 32 hexadecimal digits. RatemillError if one of them is something else."""
    if not names.str.contains(r"\A[0-9a-f]{32}\z").all():
        raise RatemillError("a notification's id is not 32 hexadecimal digits")
    digits = memoryview(names.to_arrow().buffers()[2])[: 32 * len(names)] if len(names) else b""
    quarters = np.frombuffer(bytes.fromhex(str(digits, "ascii")), ">u4").reshape(-1, 4).sum(axis=0, dtype=np.uint64)
    return sum(quarter << (32 * place) for place, quarter in enumerate(reversed(quarters.tolist())))


def commit_row(flow: str, writer: int, before: WriterState, state: WriterState, tally: Tally) -> pa.Table:
    """The row of `commits` that turns `before` into `state`; `flow` is the one whose writer it is."""
    row = {
        "flow": flow,
        "writer": writer,
        "sequence": before.sequence,
        "progress": _as_time(progress_of(state.lanes.values())),
        "offsets": msgspec.json.encode({lane: at.next_offset for lane, at in sorted(state.lanes.items())}).decode(),
        "received": tally.received,
        **{table: tally.rows[table] for table in COUNTED},
        **{verdict: tally.verdicts[verdict] for verdict in VERDICT_LABELS},
        "catalog_digest": state.catalog,
        "digest": state.digest,
    }
    return pa.Table.from_pylist([row], schema=COMMITS)


def digest_of(writer: int, before: WriterState, tally: Tally, catalog_digest: str) -> str:
    """The digest of a commit: SHA-256 over the one before it, its counts and its sums."""
    content = [
        before.digest,
        writer,
        before.sequence,
        tally.received,
        [tally.verdicts[verdict] for verdict in VERDICT_LABELS],
        [tally.rows[table] for table in COUNTED],
        [str(value) for value in tally.sums.values()],
        catalog_digest,
    ]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def offsets_of(text: str) -> dict[int, int]:
    """The next offset of each input partition, from the column `offsets` of `commits`."""
    return msgspec.json.decode(text, type=dict[int, int])


def microseconds_of(moment: datetime) -> int:
    """Microseconds since 1970 UTC, from the column `progress` of `commits`."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def progress_of(lanes: Iterable[LanePosition]) -> int | None:
    """The least progress of the lanes that are not read to their end; when all are, the greatest. None when unknown."""
    known = list(lanes)
    reading = [lane.progress for lane in known if not lane.finished]
    if reading:
        moments = [moment for moment in reading if moment is not None]
        return min(moments) if len(moments) == len(reading) else None
    return max((lane.progress for lane in known if lane.progress is not None), default=None)


def _as_time(moment: int | None) -> datetime | None:
    return None if moment is None else _EPOCH + timedelta(microseconds=moment)
