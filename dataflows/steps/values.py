"""From places in a text to columns: strings and times of scanned records; compiled loops.

A value that is not plainly what its column needs makes its row UNUSUAL, and the exact decoder says what becomes of it.
Strings are not copied: a column of them points into the text, which it keeps alive.
"""

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from dataflows.steps.scan import ABSENT, UNUSUAL, USUAL, Places
from rating.compiled import compiled
from rating.texts import INLINE, Bytes
from schemas.events import EARLIEST_TIME, LATEST_TIME

ESCAPE, CONTROL, BEYOND_ASCII = 1, 2, 4
NO_TIME = np.iinfo(np.int64).min
_NOT_READ = NO_TIME + 1
_SHORTEST_TIME, _LONGEST_TIME = len("2026-11-20T10:00:00Z"), 64
_QUOTE, _BACKSLASH, _OPEN = ord('"'), ord("\\"), ord("{")
_LOWER_F, _LOWER_N, _LOWER_T, _LOWER_U = ord("f"), ord("n"), ord("t"), ord("u")
_ZERO, _MINUS, _PLUS, _COLON, _POINT, _UPPER_T, _UPPER_Z = (ord(letter) for letter in "0-+:.TZ")
_MONTH_ENDS = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365])
_ESCAPABLE = np.frombuffer(b'"\\/bfnrt', np.uint8)


def text_series(name: str, text: Bytes, first: Places, behind: Places) -> pl.Series:
    """A String column of the text between these places, null where `first` is ABSENT."""
    absent = first == ABSENT
    if absent.all():
        return pl.Series(name, [None], pl.String).new_from_index(0, len(first))
    words = np.zeros((len(first), 4), np.uint32)
    _fill_views(text, first, behind, words, words.view(np.uint8))
    present = pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None
    buffers = [present, pa.py_buffer(words), pa.py_buffer(text)]
    return pl.Series(name, pl.from_arrow(pa.Array.from_buffers(pa.string_view(), len(first), buffers)))


@compiled
def _fill_views(text: Bytes, first: Places, behind: Places, words: npt.NDArray[np.uint32], octets: Bytes) -> None:
    """Arrow's view of a string: its length, then itself if it is short, else its first four bytes, buffer and place."""
    for row in range(len(first)):
        start = first[row]
        if start == ABSENT:
            continue
        length = behind[row] - start
        words[row, 0] = length
        for place in range(length if length <= INLINE else 4):
            octets[row, 4 + place] = text[start + place]
        if length > INLINE:
            words[row, 3] = start


@compiled
def odd_bytes(text: Bytes, classes: Bytes) -> int:
    """The classes of all bytes that occur, as bits."""
    found = 0
    for byte in text:
        found |= classes[byte]
    return found


@compiled
def mark_bytes(text: Bytes, starts: Places, ends: Places, wrong: int, classes: Bytes, kinds: Bytes) -> None:
    """Makes rows UNUSUAL that hold a byte of the wrong class."""
    for row in range(len(kinds)):
        found = 0
        for place in range(starts[row], ends[row]):
            found |= classes[text[place]]
        if found & wrong:
            kinds[row] = UNUSUAL


@compiled
def mark_wrong_escapes(text: Bytes, starts: Places, ends: Places, kinds: Bytes) -> None:
    """Makes rows UNUSUAL that hold a backslash which begins no plain escape."""
    for row in range(len(kinds)):
        place, end = starts[row], ends[row]
        while place < end:
            if text[place] == _BACKSLASH:
                length = _escape_length(text, place + 1)
                if length == 0:
                    kinds[row] = UNUSUAL
                place += length
            place += 1


@compiled
def _escape_length(text: Bytes, at: int) -> int:
    """The bytes of an escape behind its backslash; 0 for what is none, or half a surrogate pair."""
    if text[at] == _LOWER_U:
        number = 0
        for place in range(at + 1, at + 5):
            digit = _hex_digit(text[place])
            if digit < 0:
                return 0
            number = number * 16 + digit
        return 0 if 0xD800 <= number <= 0xDFFF else 5
    for other in _ESCAPABLE:
        if text[at] == other:
            return 1
    return 0


@compiled
def _hex_digit(byte: int) -> int:
    if _ZERO <= byte <= _ZERO + 9:
        return byte - _ZERO
    lower = byte | 0x20
    return lower - ord("a") + 10 if ord("a") <= lower <= ord("f") else -1


@compiled
def unquote(text: Bytes, first: Places, behind: Places, required: bool, longest: int, kinds: Bytes) -> None:
    """Moves the places of JSON strings to those of what they say; null is ABSENT.

    Rows become UNUSUAL where a value is no string, empty, longer than `longest` bytes, has an escape or is missing.
    """
    for row in range(len(kinds)):
        start = first[row]
        if kinds[row] != USUAL or (start == ABSENT and not required):
            continue
        if start != ABSENT and text[start] == _QUOTE:
            end = behind[row] - 1
            length = end - start - 1
            if length == 0 or length > longest or _has_escape(text, start, end):
                kinds[row] = UNUSUAL
            first[row] = start + 1
            behind[row] = end
        elif start != ABSENT and text[start] == _LOWER_N and not required:
            first[row] = ABSENT
        else:
            kinds[row] = UNUSUAL


@compiled
def _has_escape(text: Bytes, at: int, end: int) -> bool:
    found = False
    for place in range(at, end):
        found |= text[place] == _BACKSLASH
    return found


@compiled
def drop_nulls(text: Bytes, first: Places, needs_object: bool, kinds: Bytes) -> None:
    """Makes JSON's null ABSENT; with `needs_object` a row whose value is neither null nor an object is UNUSUAL."""
    for row in range(len(kinds)):
        start = first[row]
        if kinds[row] == USUAL and start != ABSENT:
            if text[start] == _LOWER_N:
                first[row] = ABSENT
            elif needs_object and text[start] != _OPEN:
                kinds[row] = UNUSUAL


@compiled
def flags_of(text: Bytes, first: Places, kinds: Bytes) -> npt.NDArray[np.bool_]:
    """Which rows say true; absent is false, and a value that is neither makes its row UNUSUAL."""
    flags = np.zeros(len(kinds), np.bool_)
    for row in range(len(kinds)):
        start = first[row]
        if kinds[row] == USUAL and start != ABSENT:
            flags[row] = text[start] == _LOWER_T
            if text[start] != _LOWER_T and text[start] != _LOWER_F:
                kinds[row] = UNUSUAL
    return flags


@compiled
def times_of(text: Bytes, first: Places, behind: Places, kinds: Bytes) -> npt.NDArray[np.int64]:
    """Microseconds since 1970 UTC, NO_TIME without one; rows with anything but a plain RFC 3339 time are UNUSUAL."""
    times = np.full(len(kinds), NO_TIME)
    for row in range(len(kinds)):
        start = first[row]
        if kinds[row] != USUAL or start == ABSENT or text[start] == _LOWER_N:
            continue
        time = _NOT_READ
        length = behind[row] - start - 2
        if text[start] == _QUOTE and _SHORTEST_TIME <= length <= _LONGEST_TIME:
            time = _time(text, start + 1, behind[row] - 1)
        if EARLIEST_TIME <= time < LATEST_TIME:
            times[row] = time
        else:
            kinds[row] = UNUSUAL
    return times


@compiled
def _time(text: Bytes, at: int, end: int) -> int:
    year, month, day = _number(text, at, 4), _number(text, at + 5, 2), _number(text, at + 8, 2)
    hour, minute, second = _number(text, at + 11, 2), _number(text, at + 14, 2), _number(text, at + 17, 2)
    if min(year, month, day, hour, minute, second) < 0 or text[at + 4] != _MINUS or text[at + 7] != _MINUS:
        return _NOT_READ
    if text[at + 10] != _UPPER_T or text[at + 13] != _COLON or text[at + 16] != _COLON:
        return _NOT_READ
    if year < 1 or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 59:
        return _NOT_READ
    is_leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    if day < 1 or day > _MONTH_ENDS[month] - _MONTH_ENDS[month - 1] + (is_leap & (month == 2)):
        return _NOT_READ
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719162
    days += _MONTH_ENDS[month - 1] + (is_leap & (month > 2)) + day - 1
    seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
    return _with_fraction_and_zone(text, at + 19, end, seconds)


@compiled
def _with_fraction_and_zone(text: Bytes, at: int, end: int, seconds: int) -> int:
    """Digits behind the sixth are cut off."""
    micros = 0
    if text[at] == _POINT:
        at += 1
        unit = 1_000_000
        begun = at
        while at < end and text[at] >= _ZERO and text[at] <= _ZERO + 9:
            unit //= 10
            micros += unit * (text[at] - _ZERO)
            at += 1
        if at == begun:
            return _NOT_READ
    if at == end - 1 and text[at] == _UPPER_Z:
        return seconds * 1_000_000 + micros
    if at != end - 6 or (text[at] != _PLUS and text[at] != _MINUS) or text[at + 3] != _COLON:
        return _NOT_READ
    hours, minutes = _number(text, at + 1, 2), _number(text, at + 4, 2)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return _NOT_READ
    ahead = (hours * 60 + minutes) * 60
    return (seconds - ahead if text[at] == _PLUS else seconds + ahead) * 1_000_000 + micros


@compiled
def _number(text: Bytes, at: int, digits: int) -> int:
    """The number that these digits say, or -1."""
    number = 0
    for place in range(at, at + digits):
        digit = int(text[place]) - _ZERO
        if digit < 0 or digit > 9:
            return -1
        number = number * 10 + digit
    return number
