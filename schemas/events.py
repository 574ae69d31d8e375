"""The metering event at the border (contracts 1): its attributes, bounds, and the exact reason when a record is none.

`WireEvent` is what the batch path decodes a record into. `examine` is the slow, exact path for one record that the
batch path could not take: it says which reason applies and what would be right.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from schemas.verdicts import Reason

RECORD_BYTES_LIMIT = 65_536
ATTRIBUTE_LENGTH_LIMIT = 256
ELEMENTS_LIMIT = 64
EARLIEST_TIME = int(datetime(1970, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
LATEST_TIME = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

Attribute = Annotated[str, msgspec.Meta(min_length=1, max_length=ATTRIBUTE_LENGTH_LIMIT)]
EMPTY_DATA = msgspec.Raw(b"{}")
IDENTITY_ATTRIBUTES = ("id", "source")
OWNER_ATTRIBUTES = ("subscription", "subject", "credential", "subscriber", "organization")


class WireEvent(msgspec.Struct, gc=False):
    """One CloudEvents record; `data` stays as the bytes that were sent. Unknown attributes are ignored."""

    id: Attribute
    source: Attribute
    time: str | None = None
    subscription: Attribute | None = None
    subject: Attribute | None = None
    credential: Attribute | None = None
    subscriber: Attribute | None = None
    organization: Attribute | None = None
    synthetic: bool = False
    data: msgspec.Raw = EMPTY_DATA


class Refused(msgspec.Struct, frozen=True):
    """Why one record is no event: the reason, a sentence for a person, and what could be read of it."""

    reason: Reason
    detail: str
    readable: WireEvent


_LONGEST_TIME = 128
_any_json = msgspec.json.Decoder(dict[str, Any], float_hook=str)
# The decoder takes integers of up to 4,300 digits, and JSON knows no limit.
_LONG_INTEGER = re.compile(rb"([0-9]{4000})[0-9]+")
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


def decode_object(text: bytes) -> dict[str, Any]:
    """A JSON object, for its shape and its texts; very long integers are cut short, other numbers stay texts.

    msgspec.DecodeError, UnicodeDecodeError or RecursionError if it is none.
    """
    try:
        return _any_json.decode(text)
    except msgspec.ValidationError:
        return _any_json.decode(_LONG_INTEGER.sub(rb"\1", text))


def examine(record: bytes) -> Refused:
    """The first reason, in the order of `Reason`, why this record is no event; the batch path could not take it."""
    if len(record) > RECORD_BYTES_LIMIT:
        return _refuse(
            Reason.TOO_LARGE, f"the record has {len(record)} bytes, at most {RECORD_BYTES_LIMIT} are allowed"
        )
    try:
        content = decode_object(record)
        record.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _refuse(Reason.MALFORMED_JSON, f"not a JSON object in UTF-8: {error}")
    return _examine_attributes(content)


def _refuse(reason: Reason, detail: str, content: dict[str, Any] | None = None) -> Refused:
    content = content or {}
    texts = {
        name: content[name] for name in (*IDENTITY_ATTRIBUTES, *OWNER_ATTRIBUTES) if _is_attribute(content.get(name))
    }
    return Refused(reason, detail, WireEvent(**{"id": "", "source": "", **texts}))


def _examine_attributes(content: dict[str, Any]) -> Refused:
    for name, missing in (("id", Reason.MISSING_ID), ("source", Reason.MISSING_SOURCE)):
        if content.get(name) is None:
            return _refuse(missing, f"`{name}` is missing; every event needs one", content)
    if all(content.get(name) is None for name in OWNER_ATTRIBUTES):
        return _refuse(
            Reason.MISSING_SUBJECT, "one of subscription, credential, subscriber, organization is needed", content
        )
    for name in (*IDENTITY_ATTRIBUTES, *OWNER_ATTRIBUTES):
        if content.get(name) is not None and not _is_attribute(content[name]):
            return _refuse(Reason.BAD_ATTRIBUTE, f"`{name}` {attribute_fault(content[name])}", content)
    if not isinstance(content.get("synthetic", False), bool):
        return _refuse(Reason.BAD_ATTRIBUTE, "`synthetic` is neither true nor false", content)
    if content.get("time") is not None and (fault := time_fault(content["time"])):
        return _refuse(Reason.BAD_TIME, fault, content)
    return _refuse(Reason.BAD_DATA, _data_fault(content.get("data")), content)


def _is_attribute(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ATTRIBUTE_LENGTH_LIMIT and "\0" not in value


def attribute_fault(value: object) -> str:
    """What is wrong with the value of an attribute, as the end of a sentence."""
    if not isinstance(value, str):
        return f"is {_json_kind(value)}, a string is needed"
    if not value:
        return "is empty"
    if "\0" in value:
        return "contains a null character"
    return f"has {len(value)} characters, at most {ATTRIBUTE_LENGTH_LIMIT} are allowed"


def time_fault(value: object) -> str | None:
    """What is wrong with an event's time, or None when it is right."""
    if not isinstance(value, str):
        return f"`time` is {_json_kind(value)}, an RFC 3339 string is needed, such as 2026-11-20T10:00:00Z"
    moment = parse_time(value)
    if moment is None:
        return f"`time` {value[:64]!r} is not RFC 3339, such as 2026-11-20T10:00:00Z"
    if not EARLIEST_TIME <= moment < LATEST_TIME:
        return f"`time` {value[:64]!r} lies outside the years 1970 to 2199"
    return None


def parse_time(text: str) -> int | None:
    """Microseconds since 1970 UTC of an RFC 3339 time (further digits are cut off), or None when it is none.

    >>> parse_time("1970-01-01T01:00:00.0000019+01:00"), parse_time("1970-01-01T00:00:00+00:60")
    (1, None)
    """
    match = _RFC3339.fullmatch(text) if len(text) <= _LONGEST_TIME else None
    if match is None:
        return None
    day, clock, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone.upper().replace('Z', '+00:00')}")
    except ValueError:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + int((fraction or "0").ljust(6, "0")[:6])


def count_elements(data: dict[str, Any]) -> int:
    """The number of elements of an event's data: the members that are no objects, nested ones included."""
    return sum(count_elements(value) if isinstance(value, dict) else 1 for value in data.values())


def _data_fault(data: object) -> str:
    if not isinstance(data, dict):
        return f"`data` is {_json_kind(data)}, an object is needed"
    return f"`data` has {count_elements(data)} elements, at most {ELEMENTS_LIMIT} are allowed"


def _json_kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
