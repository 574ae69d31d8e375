"""How the oracle reads one record: its bytes become an Event, or the first reason for refusing it (semantics 7)."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

LARGEST_RECORD = 65536
LONGEST_ATTRIBUTE = 256
MOST_ELEMENTS = 64
SUBJECTS = ("subscription", "credential", "subscriber", "organization", "subject")

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?(?:([Zz])|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


class JsonNumber(str):
    """A JSON number exactly as it was written."""


@dataclass(frozen=True)
class Event:
    """A readable event; absent attributes are None; `data` maps element names to JsonNumber, str or other JSON."""

    id: str
    source: str
    subscription: str | None
    credential: str | None
    subscriber: str | None
    organization: str | None
    time: datetime | None
    data: dict[str, Any]


def read(raw: bytes) -> Event | str:
    """The event, or the reason for refusing it; `time` is None when the record leaves it out."""
    if len(raw) > LARGEST_RECORD:
        return "too_large"
    try:
        record = json.loads(raw.decode("utf-8"), parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=_refuse)
        json.dumps(record, ensure_ascii=False).encode("utf-8")  # a lone surrogate is no text
    except (ValueError, RecursionError):
        return "malformed_json"
    if not isinstance(record, dict):
        return "malformed_json"
    for name in ("id", "source"):
        if record.get(name) is None:
            return f"missing_{name}"
    if all(record.get(name) is None for name in SUBJECTS):
        return "missing_subject"
    for name in ("id", "source", *SUBJECTS):
        if record.get(name) is not None and not _is_attribute(record[name]):
            return "bad_attribute"
    if not isinstance(record.get("synthetic", False), bool):
        return "bad_attribute"
    time = _read_time(record.get("time"))
    if time == "bad_time":
        return "bad_time"
    data = record.get("data") if record.get("data") is not None else {}
    if not isinstance(data, dict) or _elements(data) > MOST_ELEMENTS:
        return "bad_data"
    subscription = record.get("subscription") if record.get("subscription") is not None else record.get("subject")
    named = (record.get(name) for name in ("credential", "subscriber", "organization"))
    return Event(record["id"], record["source"], subscription, *named, time, data)


def _elements(value: Any) -> int:
    """How many values there are that are no objects, nested ones included."""
    return sum(map(_elements, value.values())) if isinstance(value, dict) else 1


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_attribute(value: Any) -> bool:
    is_text = isinstance(value, str) and not isinstance(value, JsonNumber)
    return is_text and 0 < len(value) <= LONGEST_ATTRIBUTE and "\0" not in value


def _read_time(text: Any) -> datetime | str | None:
    if text is None:
        return None
    match = None if isinstance(text, JsonNumber) or not isinstance(text, str) else _TIME.fullmatch(text)
    if match is None:
        return "bad_time"
    date, clock, fraction, _, sign, hours, minutes = match.groups()
    try:
        local = datetime.fromisoformat(f"{date}T{clock}+00:00")
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        time = local + timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0"))) - offset
    except (ValueError, OverflowError):
        return "bad_time"
    return time if datetime(1970, 1, 1, tzinfo=UTC) <= time < datetime(2200, 1, 1, tzinfo=UTC) else "bad_time"


def element_of(event: Event, name: str) -> Any:
    """The element, reached as `a.b` through nested objects; None when it is absent or null."""
    value: Any = event.data
    for step in name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def decimal_of(value: Any) -> Fraction | None:
    """The exact value of a number or numeric text within 20 integer and 6 fractional digits, else None."""
    if not isinstance(value, str) or _DECIMAL.fullmatch(value) is None:
        return None
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    if len(value) > 128 or not -6 <= exponent <= 400:
        return None
    return Fraction(number) if abs(number) < 10**20 else None


def text_of(value: Any) -> str | None:
    """The text of an element: its characters, or a number as it was written; None for anything else."""
    return str(value) if isinstance(value, str) else None
