"""XXH64 of many pieces of a text, as https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md has it; compiled.

The library `xxhash` gives the same digests; one call of it per event would cost as much as all of reading the event.
Everything here is unsigned and wraps around at 64 bits.
"""

import numpy as np
import numpy.typing as npt

from dataflows.steps.lines import Bytes
from dataflows.steps.scan import ABSENT, Places
from rating.compiled import compiled

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_WORD_BITS = np.uint64(64)


@compiled
def digests_of(text: Bytes, first: Places, behind: Places, absent: np.uint64) -> npt.NDArray[np.uint64]:
    """The digest of each piece, seed 0; `absent` where there is none."""
    digests = np.empty(len(first), np.uint64)
    for row in range(len(first)):
        digests[row] = absent if first[row] == ABSENT else _digest(text, first[row], behind[row])
    return digests


@compiled
def _digest(text: Bytes, at: int, end: int) -> np.uint64:
    length = np.uint64(end - at)
    if end - at >= 32:
        one, two, three, four = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while end - at >= 32:
            one = _round(one, _word(text, at))
            two = _round(two, _word(text, at + 8))
            three = _round(three, _word(text, at + 16))
            four = _round(four, _word(text, at + 24))
            at += 32
        digest = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        digest = _merged(_merged(_merged(_merged(digest, one), two), three), four)
    else:
        digest = _P5
    digest += length
    while end - at >= 8:
        digest = _rotated(digest ^ _round(np.uint64(0), _word(text, at)), 27) * _P1 + _P4
        at += 8
    if end - at >= 4:
        digest = _rotated(digest ^ (_half_word(text, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        digest = _rotated(digest ^ (np.uint64(text[at]) * _P5), 11) * _P1
        at += 1
    digest = (digest ^ (digest >> np.uint64(33))) * _P2
    digest = (digest ^ (digest >> np.uint64(29))) * _P3
    return digest ^ (digest >> np.uint64(32))


@compiled
def _rotated(word: np.uint64, bits: int) -> np.uint64:
    left = np.uint64(bits)
    return (word << left) | (word >> (_WORD_BITS - left))


@compiled
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _P2, 31) * _P1


@compiled
def _merged(digest: np.uint64, lane: np.uint64) -> np.uint64:
    return (digest ^ _round(np.uint64(0), lane)) * _P1 + _P4


@compiled
def _word(text: Bytes, at: int) -> np.uint64:
    return _half_word(text, at) | (_half_word(text, at + 4) << np.uint64(32))


@compiled
def _half_word(text: Bytes, at: int) -> np.uint64:
    word = np.uint64(text[at])
    word |= np.uint64(text[at + 1]) << np.uint64(8)
    word |= np.uint64(text[at + 2]) << np.uint64(16)
    return word | (np.uint64(text[at + 3]) << np.uint64(24))
