"""Records to a table: a fast path for a whole batch, and an exact one for each record that the fast path cannot take.

Both paths use the same decoders, so what becomes of a record never depends on its neighbours.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import xxhash

from dataflows.steps.times import ABSENT, parse_times
from rating.batch import DECODED_COLUMNS, DecodedBatch
from rating.catalog import CompiledCatalog
from schemas.events import (
    EARLIEST_TIME,
    ELEMENTS_LIMIT,
    LATEST_TIME,
    RECORD_BYTES_LIMIT,
    Refused,
    WireEvent,
    count_elements,
    examine,
)

_decode_event = msgspec.json.Decoder(WireEvent).decode
_any_data = msgspec.json.Decoder(dict[str, Any], float_hook=str)
_SHORTEST_DATA_OVER_LIMIT = ELEMENTS_LIMIT * len('"":1,')
_ESCAPED_NULL = b"\\u0000"
_NULL = b"null"
_OWNERS = ("subscription", "subject", "credential", "subscriber", "organization")


def decode(
    records: Sequence[bytes],
    partition: int,
    offsets: npt.NDArray[np.int64],
    catalog: CompiledCatalog,
    record_times: npt.NDArray[np.int64] | None = None,
) -> DecodedBatch:
    """Decodes consecutive records of a partition, given as bytes with their offsets, into one table."""
    refused: dict[int, Refused] = {}
    events = _decode_events(records, refused)
    data = _data_of(events, records, refused)
    elements = _decode_elements(data, records, refused, events, catalog.elements)
    times = _times_of(events, records, refused)
    frame = _table(events, data, times, offsets, refused, records)
    return DecodedBatch(partition, int(offsets[-1]) + 1 if len(offsets) else 0, frame, elements, record_times)


def _decode_events(records: Sequence[bytes], refused: dict[int, Refused]) -> list[WireEvent]:
    suspects = _suspects(records)
    if not suspects:
        try:
            return list(map(_decode_event, records))
        except (msgspec.DecodeError, RecursionError):
            pass
    return [_decode_or_refuse(record, row, row in suspects, refused) for row, record in enumerate(records)]


def _suspects(records: Sequence[bytes]) -> set[int]:
    """Rows that the decoder would take although a bound or a rule forbids it."""
    suspects: set[int] = set()
    if max(map(len, records), default=0) > RECORD_BYTES_LIMIT:
        suspects.update(row for row, record in enumerate(records) if len(record) > RECORD_BYTES_LIMIT)
    if any(_ESCAPED_NULL in record for record in records):
        suspects.update(row for row, record in enumerate(records) if _has_null_attribute(record))
    return suspects


def _has_null_attribute(record: bytes) -> bool:
    if _ESCAPED_NULL not in record:
        return False
    try:
        event = _decode_event(record)
    except (msgspec.DecodeError, RecursionError):
        return True
    return any("\0" in (getattr(event, name) or "") for name in ("id", "source", *_OWNERS))


def _decode_or_refuse(record: bytes, row: int, suspect: bool, refused: dict[int, Refused]) -> WireEvent:
    if not suspect:
        try:
            return _decode_event(record)
        except (msgspec.DecodeError, RecursionError):
            pass
    return _refuse(record, row, refused)


def _refuse(record: bytes, row: int, refused: dict[int, Refused]) -> WireEvent:
    refused[row] = examine(record)
    return refused[row].readable


def _data_of(events: list[WireEvent], records: Sequence[bytes], refused: dict[int, Refused]) -> list[msgspec.Raw]:
    """The raw data of every event; an event whose data is over its bounds, or that names no owner, is refused here."""
    empty = WireEvent("", "").data
    data = [event.data for event in events]
    for row, raw in enumerate(data):
        if len(raw) > _SHORTEST_DATA_OVER_LIMIT and row not in refused and _has_too_many_elements(raw):
            events[row] = _refuse(records[row], row, refused)
            data[row] = empty
        elif len(raw) == len(_NULL) and bytes(raw) == _NULL:
            data[row] = empty
    ownerless = [
        row
        for row, event in enumerate(events)
        if event.subscription is None and event.credential is None and row not in refused and _lacks_owner(event)
    ]
    for row in ownerless:
        events[row] = _refuse(records[row], row, refused)
    return data


def _lacks_owner(event: WireEvent) -> bool:
    return all(getattr(event, name) is None for name in _OWNERS)


def _has_too_many_elements(raw: msgspec.Raw) -> bool:
    try:
        return count_elements(_any_data.decode(raw)) > ELEMENTS_LIMIT
    except (msgspec.DecodeError, RecursionError):
        return False


@lru_cache(maxsize=64)
def _element_decoder(names: tuple[str, ...]) -> tuple[Callable[[bytes], list[Any]], Callable[[Any], Any]]:
    """Decoders of a JSON array of data objects, and of one object, into structs with only the fields `f0, f1, ...`."""
    fields = [(f"f{index}", Any, None) for index in range(len(names))]
    rename = {f"f{index}": name for index, name in enumerate(names)}
    struct = msgspec.defstruct("Elements", fields, gc=False, rename=rename)
    many = msgspec.json.Decoder(list[struct], float_hook=str)  # type: ignore[valid-type]
    return many.decode, msgspec.json.Decoder(struct, float_hook=str).decode


def _decode_elements(
    data: list[msgspec.Raw],
    records: Sequence[bytes],
    refused: dict[int, Refused],
    events: list[WireEvent],
    names: tuple[str, ...],
) -> dict[str, Sequence[object]]:
    """The values of the named elements, one list per name; a dotted name reaches into nested objects."""
    tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    many, one = _element_decoder(tops)
    try:
        rows = many(b"[" + b",".join(data) + b"]")
        b"".join(data).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        rows = [_decode_one(one, raw, row, data, records, refused, events) for row, raw in enumerate(list(data))]
    columns: dict[str, Sequence[object]] = {}
    for index, top in enumerate(tops):
        field = f"f{index}"
        values = [getattr(row, field) for row in rows]
        columns.update({name: _reach(values, name) for name in names if name.partition(".")[0] == top})
    return columns


def _decode_one(
    one: Callable[[Any], Any],
    raw: msgspec.Raw,
    row: int,
    data: list[msgspec.Raw],
    records: Sequence[bytes],
    refused: dict[int, Refused],
    events: list[WireEvent],
) -> Any:
    try:
        bytes(raw).decode()
        return one(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if row not in refused:
            events[row] = _refuse(records[row], row, refused)
        data[row] = WireEvent("", "").data
        return one(data[row])


def _reach(values: list[object], name: str) -> list[object]:
    path = name.split(".")[1:]
    for part in path:
        values = [value.get(part) if isinstance(value, dict) else None for value in values]
    return values


def _times_of(events: list[WireEvent], records: Sequence[bytes], refused: dict[int, Refused]) -> npt.NDArray[np.int64]:
    times = parse_times([event.time for event in events])
    wrong = (times != ABSENT) & ((times < EARLIEST_TIME) | (times >= LATEST_TIME))
    for row in np.flatnonzero(wrong).tolist():
        if row not in refused:
            events[row] = _refuse(records[row], row, refused)
        times[row] = ABSENT
    return times


def _table(
    events: list[WireEvent],
    data: list[msgspec.Raw],
    times: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    refused: dict[int, Refused],
    records: Sequence[bytes],
) -> pl.DataFrame:
    subscriptions = [event.subscription if event.subscription is not None else event.subject for event in events]
    event_time = pl.Series(times)
    frame = pl.DataFrame(
        [
            pl.Series("offset", offsets),
            pl.Series("source", [event.source for event in events], pl.String),
            pl.Series("event_id", [event.id for event in events], pl.String),
            event_time.set(event_time == ABSENT, None).alias("event_time"),
            pl.Series("subscription_id", subscriptions, pl.String),
            pl.Series("credential_id", [event.credential for event in events], pl.String),
            pl.Series("subscriber", [event.subscriber for event in events], pl.String),
            pl.Series("organization_id", [event.organization for event in events], pl.String),
            pl.Series("synthetic", [event.synthetic for event in events], pl.Boolean),
            pl.Series("reason", [None], pl.String).new_from_index(0, len(events)),
            pl.Series("reason_detail", [None], pl.String).new_from_index(0, len(events)),
            pl.Series("content_digest", list(map(xxhash.xxh3_64_intdigest, data)), pl.UInt64),
            _text_column(data).alias("data"),
        ],
        schema=DECODED_COLUMNS,
    )
    return _mark_refused(frame, refused, records) if refused else frame


def _text_column(texts: list[msgspec.Raw]) -> pl.Series:
    """A String column over the joined bytes, which are known to be UTF-8."""
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
    joined = b"".join(texts)
    return pl.Series(
        pl.from_arrow(pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(joined)))
    )


def _mark_refused(frame: pl.DataFrame, refused: dict[int, Refused], records: Sequence[bytes]) -> pl.DataFrame:
    rows = list(refused)
    stated = {name: frame[name].to_list() for name in ("source", "event_id", "reason", "reason_detail", "data")}
    for row, fault in refused.items():
        stated["source"][row] = fault.readable.source or None
        stated["event_id"][row] = fault.readable.id or None
        stated["reason"][row] = fault.reason.value
        stated["reason_detail"][row] = fault.detail
        stated["data"][row] = _as_came(records[row])
    digests = pl.Series([xxhash.xxh3_64_intdigest(records[row]) for row in rows], dtype=pl.UInt64)
    columns: Iterable[pl.Series] = (pl.Series(name, values, pl.String) for name, values in stated.items())
    return frame.with_columns(
        *columns,
        frame["content_digest"].scatter(rows, digests),
        pl.when(pl.col("reason").is_null()).then(pl.col("event_time")).alias("event_time"),
    )


def _as_came(record: bytes) -> str:
    """The record as JSON text, so that nothing of it is lost: {"record": text} or, if it is not UTF-8, {"record_hex"}."""
    try:
        return msgspec.json.encode({"record": record.decode()}).decode()
    except UnicodeDecodeError:
        return msgspec.json.encode({"record_hex": record.hex()}).decode()
