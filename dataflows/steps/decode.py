"""Records to a table: a fast path for a whole batch, and an exact one for each record that the fast path cannot take.

Both paths use the same decoders, so what becomes of a record never depends on its neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from dataflows.steps.elements import decode_elements, lengths_of, text_column
from dataflows.steps.refusals import mark_refused
from dataflows.steps.times import ABSENT, parse_times
from rating.batch import DECODED_COLUMNS, DecodedBatch
from rating.catalog import CompiledCatalog
from schemas.events import (
    EARLIEST_TIME,
    ELEMENTS_LIMIT,
    EMPTY_DATA,
    LATEST_TIME,
    OWNER_ATTRIBUTES,
    RECORD_BYTES_LIMIT,
    Refused,
    WireEvent,
    count_elements,
    examine,
)

_events = msgspec.json.Decoder(WireEvent)
_any_data = msgspec.json.Decoder(dict[str, object], float_hook=str)
_SHORTEST_DATA_OVER_LIMIT = ELEMENTS_LIMIT * len('"":1,')
_ESCAPED_NULL = b"\\u0000"
_NULL = b"null"
_LINE_END = ord("\n")
_FEW = 64
_PIECE = 256 * 1024
_WINDOW = RECORD_BYTES_LIMIT // 2
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class _Records:
    """Records being decoded: `record_at` gives the bytes of one, `refused` those found to be no events, by row."""

    record_at: Callable[[int], bytes]
    events: list[WireEvent]
    refused: dict[int, Refused] = field(default_factory=dict)

    def refuse(self, row: int) -> None:
        """Gives the row the exact reason why it is no event."""
        if row not in self.refused:
            self.refused[row] = examine(self.record_at(row))
            self.events[row] = self.refused[row].readable


def decode_chunk(chunk: bytes, partition: int, first_line: int, catalog: CompiledCatalog) -> DecodedBatch:
    """Decodes whole NDJSON lines of a file; offsets are line numbers, blank lines have one but are no records."""
    lines = _count_line_ends(chunk) + (not chunk.endswith(b"\n") and bool(chunk))
    events = _fast(chunk)
    if events is not None and len(events) == lines:
        offsets = np.arange(first_line, first_line + lines)
        records = _Records(_line_of(chunk), events)
        return _batch(records, partition, offsets, first_line + lines, catalog, None)
    split = chunk.split(b"\n")
    rows = [row for row, line in enumerate(split) if line.strip()]
    offsets = np.array(rows, np.int64) + first_line
    records = _decode_each([split[row] for row in rows])
    return _batch(records, partition, offsets, first_line + lines, catalog, None)


def decode(
    records: Sequence[bytes],
    partition: int,
    offsets: npt.NDArray[np.int64],
    catalog: CompiledCatalog,
    record_times: npt.NDArray[np.int64] | None = None,
) -> DecodedBatch:
    """Decodes consecutive records of a partition, given as bytes with their offsets and, from a log, their times."""
    next_offset = int(offsets[-1]) + 1 if len(offsets) else 0
    events = _fast_lines(records)
    decoded = _decode_each(records) if events is None else _Records(records.__getitem__, events)
    return _batch(decoded, partition, offsets, next_offset, catalog, record_times)


def _count_line_ends(chunk: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == _LINE_END))


def _line_of(chunk: bytes) -> Callable[[int], bytes]:
    """Gives single lines of a chunk, which is split once a line is asked for."""
    split: list[bytes] = []

    def line(row: int) -> bytes:
        if not split:
            split.extend(chunk.split(b"\n"))
        return split[row]

    return line


def _fast(chunk: bytes) -> list[WireEvent] | None:
    """All events of a chunk at once, or None when some record needs a look of its own."""
    if (b"\\" in chunk and _ESCAPED_NULL in chunk) or _may_hold_oversized(chunk) or not _is_utf8(chunk):
        return None
    events: list[WireEvent] = []
    try:
        for piece in _pieces(chunk):
            events.extend(_events.decode_lines(piece))
    except _UNREADABLE:
        return None
    return events


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """The chunk in runs of whole lines that stay in the processor's cache while they are decoded."""
    start = 0
    while start < len(chunk):
        end = chunk.rfind(b"\n", start, start + _PIECE) + 1 if len(chunk) - start > _PIECE else len(chunk)
        end = end or chunk.find(b"\n", start) + 1 or len(chunk)
        yield chunk[start:end]
        start = end


def _may_hold_oversized(chunk: bytes) -> bool:
    """A line over the limit covers at least one whole window; where each window has a line end, there is none."""
    starts = range(0, max(0, len(chunk) - _WINDOW), _WINDOW)
    return any(chunk.find(b"\n", start, start + _WINDOW) < 0 for start in starts)


def _is_utf8(record: bytes) -> bool:
    if record.isascii():
        return True
    try:
        record.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode_each(records: Sequence[bytes]) -> _Records:
    """All records, a few at a time: only the neighbours of a bad record are looked at one by one."""
    decoded = _Records(records.__getitem__, [])
    for start in range(0, len(records), _FEW):
        few = records[start : start + _FEW]
        events = _fast_lines(few)
        if events is not None:
            decoded.events.extend(events)
            continue
        for row, record in enumerate(few, start):
            event = _decode_one(record)
            decoded.events.append(event or WireEvent("", ""))
            if event is None:
                decoded.refuse(row)
    return decoded


def _fast_lines(records: Sequence[bytes]) -> list[WireEvent] | None:
    """The events of records that hold no line end, or None when some record needs a look of its own."""
    chunk = b"\n".join(records)
    if _count_line_ends(chunk) != len(records) - 1:
        return None
    events = _fast(chunk)
    return events if events is not None and len(events) == len(records) else None


def _decode_one(record: bytes) -> WireEvent | None:
    if len(record) > RECORD_BYTES_LIMIT or not _is_utf8(record):
        return None
    try:
        event = _events.decode(record)
    except _UNREADABLE:
        return None
    return None if _ESCAPED_NULL in record and _has_null_attribute(event) else event


def _has_null_attribute(event: WireEvent) -> bool:
    return any("\0" in (getattr(event, name) or "") for name in ("id", "source", *OWNER_ATTRIBUTES))


def _batch(
    records: _Records,
    partition: int,
    offsets: npt.NDArray[np.int64],
    next_offset: int,
    catalog: CompiledCatalog,
    record_times: npt.NDArray[np.int64] | None,
) -> DecodedBatch:
    owners = [event.subscription for event in records.events]
    if None in owners:
        _refuse_ownerless(records, owners)
    data = _data_of(records)
    elements = _elements_of(records, data, catalog.elements)
    times = _times_of(records)
    credentials = [event.credential for event in records.events]
    frame = _table(records, data, times, offsets, owners, credentials)
    return DecodedBatch(partition, next_offset, frame, owners, credentials, elements, record_times)


def _refuse_ownerless(records: _Records, owners: list[str | None]) -> None:
    """Where no subscription is stated, the subject is one; an event that names nobody at all is refused."""
    for row in [row for row, owner in enumerate(owners) if owner is None]:
        event = records.events[row]
        owners[row] = event.subject
        if event.credential is None and all(getattr(event, name) is None for name in OWNER_ATTRIBUTES):
            records.refuse(row)


def _data_of(records: _Records) -> list[msgspec.Raw]:
    """The raw data of every event; an event whose data is over its bounds is refused here."""
    data = [event.data for event in records.events]
    lengths = lengths_of(data)
    for row in np.flatnonzero(lengths > _SHORTEST_DATA_OVER_LIMIT).tolist():
        if _has_too_many_elements(data[row]):
            records.refuse(row)
    for row in np.flatnonzero(lengths == len(_NULL)).tolist():
        if bytes(data[row]) == _NULL:
            data[row] = EMPTY_DATA
    for row in records.refused:
        data[row] = EMPTY_DATA
    return data


def _has_too_many_elements(raw: msgspec.Raw) -> bool:
    try:
        return count_elements(_any_data.decode(raw)) > ELEMENTS_LIMIT
    except _UNREADABLE:
        return False


def _elements_of(records: _Records, data: list[msgspec.Raw], names: tuple[str, ...]) -> dict[str, pl.Series]:
    """The JSON texts of the named elements; an event whose data is no object is refused here."""
    elements, wrong = decode_elements(data, names)
    for row in wrong:
        records.refuse(row)
        data[row] = EMPTY_DATA
    return elements


def _times_of(records: _Records) -> npt.NDArray[np.int64]:
    times = parse_times([event.time for event in records.events])
    wrong = (times != ABSENT) & ((times < EARLIEST_TIME) | (times >= LATEST_TIME))
    for row in np.flatnonzero(wrong).tolist():
        records.refuse(row)
        times[row] = ABSENT
    return times


def _table(
    records: _Records,
    data: list[msgspec.Raw],
    times: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    owners: list[str | None],
    credentials: list[str | None],
) -> pl.DataFrame:
    events = records.events
    event_time = pl.Series(times)
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(events))
    frame = pl.DataFrame(
        [
            pl.Series("offset", offsets),
            pl.Series("source", [event.source for event in events], pl.String),
            pl.Series("event_id", [event.id for event in events], pl.String),
            event_time.set(event_time == ABSENT, None).alias("event_time"),
            pl.Series("subscription_id", owners, pl.String),
            pl.Series("credential_id", credentials, pl.String),
            pl.Series("subscriber", [event.subscriber for event in events], pl.String),
            pl.Series("organization_id", [event.organization for event in events], pl.String),
            pl.Series("synthetic", [event.synthetic for event in events], pl.Boolean),
            nothing.alias("reason"),
            nothing.alias("reason_detail"),
            pl.Series("content_digest", list(map(xxhash.xxh3_64_intdigest, data)), pl.UInt64),
            text_column(data, lengths_of(data)).alias("data"),
        ],
        schema=DECODED_COLUMNS,
    )
    return mark_refused(frame, records.refused, records.record_at) if records.refused else frame
