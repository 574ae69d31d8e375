"""Records one by one, by a full JSON decoder: what each says, or the exact reason why it is no event.

A record that is no event stays whole in `data`, so that nothing of it is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import polars as pl
import xxhash

from dataflows.steps.formats import translated, unclaimed
from dataflows.steps.members import Members, members_at
from rating.batch import DECODED_COLUMNS
from rating.foreign import ForeignSource
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
    decode_object,
    examine,
    parse_time,
)

_wire_event = msgspec.json.Decoder(WireEvent)
_NULL = b"null"
_NOTHING = (b"", _NULL)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_COLUMNS = pl.Schema({name: kind for name, kind in DECODED_COLUMNS.items() if name != "offset"})

_Row: TypeAlias = dict[str, Any]
_Texts: TypeAlias = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Exact:
    """One row per record: the columns of `DECODED_COLUMNS` without the offset, and the JSON texts of the elements."""

    columns: pl.DataFrame
    elements: pl.DataFrame


class _NoEventError(Exception):
    """The record is no event; `examine` says why."""


def decode_exactly(
    records: Sequence[bytes], elements: tuple[str, ...], foreign: tuple[ForeignSource, ...] = ()
) -> Exact:
    """Decodes every record by itself. `a.b` names the member `b` of the object `a` of an event's data.

    A record that one of the `foreign` sources claims is read as one of its format.
    """
    members = members_at(tuple(tuple(name.split(".")) for name in elements))
    read = [_read(record, members, foreign) for record in records]
    rows = [row for row, _ in read]
    texts = [found or (None,) * len(elements) for _, found in read]
    schema = pl.Schema(dict.fromkeys(elements, pl.String))
    return Exact(pl.DataFrame(rows, _COLUMNS, orient="row"), pl.DataFrame(texts, schema, orient="row"))


def _read(record: bytes, members: Members, foreign: tuple[ForeignSource, ...]) -> tuple[_Row, _Texts]:
    translation = translated(record, foreign)
    try:
        return _event(record if translation is None else translation.record, members)
    except _NoEventError:
        if translation is None:
            refused = unclaimed(examine(record), foreign)
        else:
            refused = translation.explained(examine(translation.record))
        return _refused_row(record, refused), ()


def _event(record: bytes, members: Members) -> tuple[_Row, _Texts]:
    event = _decoded(record)
    return _event_row(event), _elements(event.data, members)


def _decoded(record: bytes) -> WireEvent:
    if len(record) > RECORD_BYTES_LIMIT:
        raise _NoEventError
    try:
        record.decode()
        event = _wire_event.decode(record)
    except _UNREADABLE as error:
        raise _NoEventError from error
    stated = [getattr(event, name) for name in OWNER_ATTRIBUTES]
    if not any(stated) or any("\0" in text for text in (event.id, event.source, *filter(None, stated))):
        raise _NoEventError
    if bytes(event.data) == _NULL:
        event.data = EMPTY_DATA
    return event


def _elements(data: msgspec.Raw, members: Members) -> _Texts:
    try:
        if count_elements(decode_object(bytes(data))) > ELEMENTS_LIMIT:
            raise _NoEventError
        return tuple(text.decode() if text not in _NOTHING else None for text in members(data))
    except _UNREADABLE as error:
        raise _NoEventError from error


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
