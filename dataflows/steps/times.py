"""RFC 3339 texts to microseconds, a column at a time; texts of an unusual form go to the exact parser one by one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from schemas.events import parse_time

Times = npt.NDArray[np.int64]
ABSENT = np.iinfo(np.int64).min
UNREADABLE = ABSENT + 1

_SHAPES = {
    len(shape): np.frombuffer(shape.encode(), np.uint8)
    for shape in ("0000-00-00T00:00:00Z", "0000-00-00T00:00:00.000Z", "0000-00-00T00:00:00.000000Z")
}
_ZERO = ord("0")
_LENGTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def parse_times(texts: Sequence[str | None]) -> Times:
    """Microseconds since 1970 UTC, shape (n,), int64; ABSENT for None, UNREADABLE for what is no RFC 3339 time."""
    stated = [text or "" for text in texts]
    lengths = np.fromiter(map(len, stated), np.int64, len(stated))
    times = np.full(len(stated), ABSENT)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        alike = stated if len(rows) == len(stated) else [stated[row] for row in rows.tolist()]
        if length in _SHAPES:
            times[rows] = _parse_uniform(alike, length)
        elif length:
            times[rows] = _parse_each(alike)
    empty = [row for row in np.flatnonzero(lengths == 0).tolist() if texts[row] is not None]
    times[empty] = UNREADABLE
    return times


def _parse_each(texts: Sequence[str]) -> Times:
    moments = (parse_time(text) for text in texts)
    return np.fromiter((UNREADABLE if moment is None else moment for moment in moments), np.int64, len(texts))


def _parse_uniform(texts: Sequence[str], length: int) -> Times:
    """Texts that are all of one length: digits and separators are checked as one matrix of bytes."""
    joined = "".join(texts)
    if not joined.isascii():
        return _parse_each(texts)
    matrix = np.frombuffer(joined.encode(), np.uint8).reshape(-1, length)
    shape = _SHAPES[length]
    digits = shape == _ZERO
    values = matrix - np.uint8(_ZERO)
    regular = (values[:, digits] <= 9).all(axis=1) & (matrix[:, ~digits] == shape[~digits]).all(axis=1)
    times = _assemble(values.astype(np.int64), regular, length)
    unusual = np.flatnonzero(~regular).tolist()
    times[unusual] = _parse_each([texts[row] for row in unusual])
    return times


def _assemble(values: Times, regular: npt.NDArray[np.bool_], length: int) -> Times:
    """Microseconds from digit values; clears `regular` where a field is out of its range."""
    year = _number(values, 0, 4)
    month, day, hour, minute, second = (_number(values, at, at + 2) for at in (5, 8, 11, 14, 17))
    regular &= (month >= 1) & (month <= 12) & (hour <= 23) & (minute <= 59) & (second <= 59) & (year >= 1) & (day >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = _LENGTHS[np.clip(month, 1, 12) - 1] + (leap & (month == 2))
    regular &= day <= longest
    months = ((year - 1970) * 12 + month - 1).view("M8[M]")
    days = months.astype("M8[D]").view(np.int64) + day - 1
    micros = _number(values, 20, length - 1) * (1 if length == 27 else 1000) if length > 20 else 0
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + micros


def _number(values: Times, start: int, stop: int) -> Times:
    total = values[:, start].copy()
    for column in range(start + 1, stop):
        total = total * 10 + values[:, column]
    return total
