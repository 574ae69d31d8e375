"""Where things stand in the text of JSON records: lines, and the values of an object's members; compiled loops.

Only plain JSON is taken: what this scanner accepts is valid, and every record that it finds unusual (an escape in a
name, a watched name twice, deep nesting, control characters, anything wrong) is left to the exact decoder. It knows no
meaning of values, and does not check UTF-8.

First all quotes and line feeds are marked, without a branch that depends on the text; then each line is walked from
mark to mark. A text ends with a line feed, so no loop needs to look for its end.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataflows.steps.lines import count_lines
from rating.compiled import compiled
from rating.texts import Bytes

Places = npt.NDArray[np.int32]

ABSENT = -1
BLANK, USUAL, UNUSUAL = 0, 1, 2
_OTHER, _OUTER, _INNER = -1, 0, 1
_LONGEST_NAME = _LONGEST_NUMBER = 255
_DEEPEST, _BLOCK, _ONE = 60, 1 << 17, np.uint64(1)
_QUOTE, _BACKSLASH, _COLON, _COMMA = ord('"'), ord("\\"), ord(":"), ord(",")
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = ord("{"), ord("}"), ord("["), ord("]")
_ZERO, _NINE, _MINUS, _PLUS, _POINT = ord("0"), ord("9"), ord("-"), ord("+"), ord(".")
_LOWER_E, _UPPER_E, _LOWER_N, _LOWER_T, _LOWER_F = (ord(letter) for letter in "eEntf")
_SPACE, _TAB, _LINE_FEED, _RETURN = ord(" "), ord("\t"), ord("\n"), ord("\r")
_TRUE, _FALSE, _NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))


class Names(NamedTuple):
    """The watched names: of members of the record, and of the members of one of these, the inner object.

    `text` and `starts` hold all names, first the outer ones. `head[level, length]` is the first name of a level that
    has this length, `following[number]` the next one; `inner_member` is the number of the inner object's own name.
    """

    text: Bytes
    starts: Places
    head: Places
    following: Places
    inner_member: int

    @classmethod
    def of(cls, outer: Sequence[str], inner: Sequence[str], inner_member: str | None) -> "Names":
        """The table of these names; a record with a name too long for it is unusual."""
        encoded = [name.encode() for name in (*outer, *inner)]
        head, following = np.full((2, _LONGEST_NAME + 1), ABSENT, np.int32), np.full(len(encoded), ABSENT, np.int32)
        for number, name in enumerate(encoded):
            level = _OUTER if number < len(outer) else _INNER
            if len(name) <= _LONGEST_NAME:
                following[number], head[level, len(name)] = head[level, len(name)], number
        starts = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
        number = outer.index(inner_member) if inner_member is not None else ABSENT
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts, head, following, number)


class Scanned(NamedTuple):
    """One row per line: where it starts and ends, its kind (BLANK, USUAL, UNUSUAL), and where watched values stand.

    `first[number, row]` and `behind[number, row]` are the places of the first byte of a value and behind its last one,
    ABSENT without one. `members` counts the members of the inner object, nested ones included. Only the rows of kind
    USUAL mean anything.
    """

    starts: Places
    ends: Places
    kinds: Bytes
    members: Places
    first: Places
    behind: Places


def scan(text: Bytes, names: Names) -> Scanned:
    """Scans lines of one object each; the last line ends with a line feed too, and there are less than 2 GiB."""
    height = count_lines(text)
    scanned = Scanned(
        starts=np.empty(height, np.int32),
        ends=np.empty(height, np.int32),
        kinds=np.full(height, UNUSUAL, np.uint8),
        members=np.zeros(height, np.int32),
        first=np.full((len(names.following), height), ABSENT, np.int32),
        behind=np.full((len(names.following), height), ABSENT, np.int32),
    )
    _scan_blocks(text, bool((text == _BACKSLASH).any()), names, scanned)
    return scanned


@compiled
def _scan_blocks(text: Bytes, has_escapes: bool, names: Names, scanned: Scanned) -> None:
    """Blocks of whole lines, so small that their marks stay in the processor's cache."""
    marks = np.empty(2 * _BLOCK, np.int32)
    row = 0
    start = 0
    while start < len(text):
        stop = min(start + _BLOCK, len(text))
        while text[stop - 1] != _LINE_FEED:
            stop += 1
        if stop - start >= len(marks):
            marks = np.empty(stop - start + 1, np.int32)
        count = _mark(text, start, stop, has_escapes, marks)
        row = _scan_lines(text, start, marks[:count], has_escapes, names, scanned, row)
        start = stop


@compiled
def _mark(text: Bytes, start: int, stop: int, has_escapes: bool, marks: Places) -> int:
    """Marks the quotes that begin or end strings, and the line feeds; gives their number. Unsigned: no index is < 0."""
    count = np.uint64(0)
    if has_escapes:
        escaped = False
        for place in range(np.uint64(start), np.uint64(stop)):
            byte = text[place]
            marks[count] = place
            if ((byte == _QUOTE) & (not escaped)) | (byte == _LINE_FEED):
                count += _ONE
            escaped = (byte == _BACKSLASH) & (not escaped)
    else:
        for place in range(np.uint64(start), np.uint64(stop)):
            byte = text[place]
            marks[count] = place
            if (byte == _QUOTE) | (byte == _LINE_FEED):
                count += _ONE
    return int(count)


@compiled
def _scan_lines(
    text: Bytes, start: int, marks: Places, has_escapes: bool, names: Names, scanned: Scanned, row: int
) -> int:
    """Walks lines, the first one from `start`; gives the row behind the last one.

    One loop, since a call with this many arrays costs more than a member. `objects` has one bit per open container, set
    for an object; `open_names` the watched name of each. `level` says which names are watched for here.
    """
    name_text, name_starts, head, following, inner_member = names
    starts, ends, kinds, inner_members, first, behind = scanned
    open_names = np.empty(_DEEPEST + 1, np.int64)
    mark = 0
    at = start
    while mark < len(marks):
        starts[row] = at
        depth = objects = members = inside = 0
        level = _OTHER
        kind = UNUSUAL
        at = _after_blanks(text, at)
        if text[at] == _LINE_FEED:
            kind = BLANK
        walking = text[at] == _OPEN
        while walking:
            name = ABSENT
            if objects & 1:
                if text[at] != _QUOTE:
                    break
                close = marks[mark + 1]
                length = close - at - 1
                too_long = level != _OTHER and length > _LONGEST_NAME
                if text[close] != _QUOTE or too_long or (has_escapes and _has_escape(text, at, close)):
                    break
                mark += 2
                if level != _OTHER:
                    name = head[level, length]
                    while name != ABSENT and not _same(text, at + 1, name_text, name_starts[name], length):
                        name = following[name]
                at = _after_blanks(text, close + 1)
                if text[at] != _COLON:
                    break
                at = _after_blanks(text, at + 1)
                members += inside
                if name != ABSENT:
                    if first[name, row] != ABSENT:
                        break
                    first[name, row] = at
            byte = text[at]
            if byte == _OPEN or byte == _OPEN_LIST:  # noqa: SIM109 (a tuple costs in a compiled loop)
                depth += 1
                if depth > _DEEPEST:
                    break
                open_names[depth] = name
                objects = (objects << 1) | (byte == _OPEN)
                level = _OUTER if depth == 1 else _OTHER
                if depth == 2 and name == inner_member and name != ABSENT:
                    level, inside = _INNER, 1
                at = _after_blanks(text, at + 1)
                if text[at] != _CLOSE and text[at] != _CLOSE_LIST:
                    continue
            else:
                if byte == _QUOTE:
                    at = marks[mark + 1]
                    if text[at] != _QUOTE:
                        break
                    mark += 2
                    at += 1
                else:
                    at = _after_scalar(text, at)
                    if at == ABSENT:
                        break
                if name != ABSENT:
                    behind[name, row] = at
                at = _after_blanks(text, at)
            while depth and text[at] == (_CLOSE if objects & 1 else _CLOSE_LIST):
                at += 1
                if open_names[depth] != ABSENT:
                    behind[open_names[depth], row] = at
                depth -= 1
                objects >>= 1
                level = _OUTER if depth == 1 else _INNER if depth == 2 and inside else _OTHER
                inside &= depth > 1
                at = _after_blanks(text, at)
            if depth == 0:
                if text[at] == _LINE_FEED:
                    kind = USUAL
                break
            if text[at] != _COMMA:
                break
            at = _after_blanks(text, at + 1)
        kinds[row] = kind
        inner_members[row] = members
        while text[marks[mark]] != _LINE_FEED:
            mark += 1
        ends[row] = marks[mark]
        at = marks[mark] + 1
        mark += 1
        row += 1
    return row


@compiled
def _has_escape(text: Bytes, at: int, end: int) -> bool:
    while at < end and text[at] != _BACKSLASH:
        at += 1
    return at < end


@compiled
def _same(text: Bytes, at: int, other: Bytes, other_at: int, length: int) -> bool:
    place = 0
    while place < length and text[at + place] == other[other_at + place]:
        place += 1
    return place == length


@compiled
def _after_blanks(text: Bytes, at: int) -> int:
    while text[at] == _SPACE or text[at] == _TAB or text[at] == _RETURN:
        at += 1
    return at


@compiled
def _after_scalar(text: Bytes, at: int) -> int:
    """Behind the number or word that begins here, or ABSENT, also where a number is too long to be plain."""
    byte = text[at]
    longest = at + _LONGEST_NUMBER
    if byte == _LOWER_T:
        return _after_word(text, at, _TRUE)
    if byte == _LOWER_F:
        return _after_word(text, at, _FALSE)
    if byte == _LOWER_N:
        return _after_word(text, at, _NULL)
    if byte == _MINUS:
        at += 1
    first = at
    at = _after_digits(text, at)
    if at == first or (text[first] == _ZERO and at > first + 1):
        return ABSENT
    if text[at] == _POINT:
        first = at + 1
        at = _after_digits(text, first)
        if at == first:
            return ABSENT
    if text[at] == _LOWER_E or text[at] == _UPPER_E:
        at += 1
        if text[at] == _MINUS or text[at] == _PLUS:
            at += 1
        first = at
        at = _after_digits(text, at)
        if at == first:
            return ABSENT
    return at if at <= longest else ABSENT


@compiled
def _after_digits(text: Bytes, at: int) -> int:
    while _ZERO <= text[at] <= _NINE:
        at += 1
    return at


@compiled
def _after_word(text: Bytes, at: int, word: Bytes) -> int:
    for place in range(len(word)):
        if text[at + place] != word[place]:
            return ABSENT
    return at + len(word)
