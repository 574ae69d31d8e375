"""Line feeds in a text; compiled loops."""

from rating.compiled import compiled
from rating.texts import Bytes

NO_END = -1
_COUNTED = 1 << 14
_LINE_FEED = ord("\n")


@compiled
def count_lines(text: Bytes) -> int:
    """The number of line feeds."""
    count = 0
    for byte in text:
        count += byte == _LINE_FEED
    return count


@compiled
def end_of_line(text: Bytes, lines: int) -> int:
    """The place behind so many lines; NO_END where the text has fewer line feeds."""
    left = lines
    for start in range(0, len(text), _COUNTED):
        stop = min(start + _COUNTED, len(text))
        here = count_lines(text[start:stop])
        if here < left:
            left -= here
            continue
        for place in range(start, stop):
            left -= text[place] == _LINE_FEED
            if left == 0:
                return place + 1
    return NO_END


@compiled
def after_last_line(text: Bytes) -> int:
    """The place behind the last line feed; 0 without one."""
    place = len(text)
    while place > 0 and text[place - 1] != _LINE_FEED:
        place -= 1
    return place
