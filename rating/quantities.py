"""Plain decimals in JSON texts as micros; a compiled loop.

>>> micros, kinds = read_micros(texts_of(pl.Series(["1.5", '"-2"', None, "1e3", "true"])))
>>> micros.tolist(), kinds.tolist()
([1500000, -2000000, 0, 0, 0], [0, 0, 1, 2, 2])
"""

import numpy as np
import numpy.typing as npt
import polars as pl  # noqa: F401 (the example above)

from rating.compiled import compiled
from rating.texts import INLINE, Bytes, Texts, texts_of  # noqa: F401
from schemas.decimals import QUANTITY_SCALE

PLAIN, ABSENT, UNUSUAL = 0, 1, 2
_MOST_INTEGER_DIGITS = 12
_ZERO, _NINE, _MINUS, _POINT, _QUOTE = ord("0"), ord("9"), ord("-"), ord("."), ord('"')
_ONE = 10**QUANTITY_SCALE


def read_micros(texts: Texts) -> tuple[npt.NDArray[np.int64], Bytes]:
    """Per text: its value in micros, and whether that is so: PLAIN, ABSENT (null), or UNUSUAL, for the exact reader.

    Plain is a JSON number, or a string of one, without an exponent, with at most 12 digits before the point and 6
    after it.
    """
    micros, kinds = np.zeros(len(texts.lengths), np.int64), np.zeros(len(texts.lengths), np.uint8)
    _read(texts, micros, kinds)
    return micros, kinds


@compiled
def _read(texts: Texts, micros: npt.NDArray[np.int64], kinds: Bytes) -> None:
    lengths, places, short, long = texts.lengths, texts.places, texts.short, texts.long
    for row in range(len(lengths)):
        if lengths[row] < 0:
            kinds[row] = ABSENT
            continue
        text = short if lengths[row] <= INLINE else long
        at, end = places[row], places[row] + lengths[row]
        if end - at >= 2 and text[at] == _QUOTE and text[end - 1] == _QUOTE:
            at, end = at + 1, end - 1
        negative = at < end and text[at] == _MINUS
        at += negative
        whole, behind = _digits(text, at, end, _MOST_INTEGER_DIGITS)
        usual = behind > at and (behind == at + 1 or text[at] != _ZERO)
        if behind < end:
            part, last = _digits(text, behind + 1, end, QUANTITY_SCALE)
            usual &= text[behind] == _POINT and last > behind + 1 and last == end
            for _ in range(QUANTITY_SCALE - (last - behind - 1)):
                part *= 10
            whole = whole * _ONE + part
        else:
            whole *= _ONE
        if usual:
            micros[row] = -whole if negative else whole
        else:
            kinds[row] = UNUSUAL


@compiled
def _digits(text: Bytes, at: int, end: int, most: int) -> tuple[int, int]:
    """The number that the digits from here say, at most so many of them, and the place behind them."""
    number = 0
    end = min(end, at + most)
    while at < end and _ZERO <= text[at] <= _NINE:
        number = number * 10 + (text[at] - _ZERO)
        at += 1
    return number, at
