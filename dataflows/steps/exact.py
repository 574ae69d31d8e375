"""Records one by one, by a full JSON decoder: what each says, or the exact reason why it is no event.

A record that is no event stays whole in `data`, so that nothing of it is lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import polars as pl
import xxhash

from rating.batch import DECODED_COLUMNS
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
    parse_time,
)

_event = msgspec.json.Decoder(WireEvent)
_any_data = msgspec.json.Decoder(dict[str, object], float_hook=str)
_ABSENT = msgspec.Raw(b"")
_NULL = b"null"
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_COLUMNS = pl.Schema({name: kind for name, kind in DECODED_COLUMNS.items() if name != "offset"})

_Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exact:
    """One row per record: the columns of `DECODED_COLUMNS` without the offset, and the JSON texts of the elements."""

    columns: pl.DataFrame
    elements: pl.DataFrame


class _NoEventError(Exception):
    """The record is no event; `examine` says why."""


def decode_exactly(records: Sequence[bytes], elements: tuple[str, ...]) -> Exact:
    """Decodes every record by itself. `a.b` names the member `b` of the object `a` of an event's data."""
    rows: list[_Row] = []
    texts: list[dict[str, str | None]] = []
    for record in records:
        try:
            event = _decoded(record)
            found = _elements(event.data, elements)
            rows.append(_event_row(event))
        except _NoEventError:
            found = {}
            rows.append(_refused_row(record, examine(record)))
        texts.append({name: found.get(name) for name in elements})
    schema = pl.Schema(dict.fromkeys(elements, pl.String))
    return Exact(pl.DataFrame(rows, _COLUMNS, orient="row"), pl.DataFrame(texts, schema, orient="row"))


def _decoded(record: bytes) -> WireEvent:
    if len(record) > RECORD_BYTES_LIMIT:
        raise _NoEventError
    try:
        record.decode()
        event = _event.decode(record)
    except _UNREADABLE as error:
        raise _NoEventError from error
    stated = [getattr(event, name) for name in OWNER_ATTRIBUTES]
    if not any(stated) or any("\0" in text for text in (event.id, event.source, *filter(None, stated))):
        raise _NoEventError
    if bytes(event.data) == _NULL:
        event.data = EMPTY_DATA
    return event


def _elements(data: msgspec.Raw, names: tuple[str, ...]) -> dict[str, str | None]:
    try:
        if count_elements(_any_data.decode(data)) > ELEMENTS_LIMIT:
            raise _NoEventError
        return _members(data, names)
    except _UNREADABLE as error:
        raise _NoEventError from error


def _members(data: Any, names: tuple[str, ...]) -> dict[str, str | None]:
    tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    decoded = _decoder(tops)(data)
    texts: dict[str, str | None] = {}
    for index, top in enumerate(tops):
        raw = bytes(getattr(decoded, f"f{index}")).strip()
        inner = tuple(name.partition(".")[2] for name in names if name.startswith(f"{top}."))
        if inner and raw.startswith(b"{"):
            texts |= {f"{top}.{name}": text for name, text in _members(raw, inner).items()}
        if raw and raw != _NULL:
            texts[top] = raw.decode()
    return texts


@lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...]) -> Callable[[Any], Any]:
    """A decoder of one object into a struct with only the fields `f0, f1, ...`, which are these members."""
    fields = [(f"f{index}", msgspec.Raw, _ABSENT) for index in range(len(names))]
    rename = {f"f{index}": name for index, name in enumerate(names)}
    return msgspec.json.Decoder(msgspec.defstruct("Elements", fields, gc=False, rename=rename)).decode


def _event_row(event: WireEvent) -> _Row:
    time = None
    if event.time is not None:
        time = parse_time(event.time)
        if time is None or not EARLIEST_TIME <= time < LATEST_TIME:
            raise _NoEventError
    data = bytes(event.data)
    told = {"event_time": time, "content_digest": xxhash.xxh64_intdigest(data), "data": data.decode()}
    return _attributes(event) | {"reason": None, "reason_detail": None} | told


def _refused_row(record: bytes, refused: Refused) -> _Row:
    return _attributes(refused.readable) | {
        "event_time": None,
        "reason": refused.reason.value,
        "reason_detail": refused.detail,
        "content_digest": xxhash.xxh64_intdigest(record),
        "data": _as_came(record),
    }


def _attributes(event: WireEvent) -> _Row:
    return {
        "source": event.source or None,
        "event_id": event.id or None,
        "subscription_id": event.subject if event.subscription is None else event.subscription,
        "credential_id": event.credential,
        "subscriber": event.subscriber,
        "organization_id": event.organization,
        "synthetic": event.synthetic,
    }


def _as_came(record: bytes) -> str:
    """The record as JSON text: {"record"}, or {"record_hex"} where it is not UTF-8."""
    try:
        return msgspec.json.encode({"record": record.decode()}).decode()
    except UnicodeDecodeError:
        return msgspec.json.encode({"record_hex": record.hex()}).decode()
