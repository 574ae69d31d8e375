"""XXH64 over pieces of a text, as https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md has it; compiled.

The library `xxhash` gives the same digests; one call of it per event would cost as much as all of reading the event.
Everything here is unsigned and wraps around at 64 bits.

>>> text = np.frombuffer(b"sub-acme-1", np.uint8)
>>> hash_pieces(text, np.array([0]), np.array([10]), np.uint64(0)).tolist()
[7628759093050921193]
"""

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from rating.compiled import compiled
from rating.texts import INLINE, Bytes, Texts, texts_of

Hashes: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.integer]

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_STABLE_SEEDS = (3, 5)
_ZERO, _WORD_BITS = np.uint64(0), np.uint64(64)


def hash_texts(texts: Texts, seed: int) -> Hashes:
    """The hash of each text, shape (n,), uint64; null is hashed as the empty text."""
    return _hash_texts(texts.lengths, texts.places, texts.short, texts.long, np.uint64(seed))


def stable_hashes(names: Iterable[str] | pl.Series) -> Hashes:
    """128-bit hashes, shape (n, 2) uint64, that stand for names in kept state: they may never change."""
    texts = texts_of(names if isinstance(names, pl.Series) else pl.Series(list(names), dtype=pl.String))
    return np.stack([hash_texts(texts, seed) for seed in _STABLE_SEEDS], axis=1)


def hash_pairs(firsts: Texts, seconds: Texts, seeds: tuple[int, int, int, int]) -> Hashes:
    """128-bit hashes, shape (n, 2) uint64, of pairs of texts, each text hashed apart; seeds: (low, high) of each."""
    hashes = np.empty((len(firsts.lengths), 2), np.uint64)
    _hash_pairs(firsts, seconds, np.array(seeds, np.uint64), hashes)
    return hashes


@compiled
def _hash_pairs(firsts: Texts, seconds: Texts, seeds: Hashes, hashes: Hashes) -> None:
    """The second text often is the one of the row before, whose hash is still at hand."""
    first_lengths, first_places, _, first_short, first_long = firsts
    lengths, places, views, short, long = seconds
    low = high = _ZERO
    for row in range(len(hashes)):
        if row == 0 or views[row, 0] != views[row - 1, 0] or views[row, 1] != views[row - 1, 1]:
            length, place = max(0, lengths[row]), places[row]
            text = short if length <= INLINE else long
            low = _hash(text, place, place + length, seeds[2]) * _P1
            high = _hash(text, place, place + length, seeds[3]) * _P1
        length, place = max(0, first_lengths[row]), first_places[row]
        text = first_short if length <= INLINE else first_long
        hashes[row, 0] = (_hash(text, place, place + length, seeds[0]) ^ low) * _P2
        hashes[row, 1] = (_hash(text, place, place + length, seeds[1]) ^ high) * _P2


@compiled
def hash_pieces(text: Bytes, first: Places, behind: Places, absent: np.uint64) -> Hashes:
    """The hash of each piece of the text, shape (n,), uint64; `absent` where `first` is negative."""
    hashes = np.empty(len(first), np.uint64)
    for row in range(len(first)):
        hashes[row] = absent if first[row] < 0 else _hash(text, first[row], behind[row], _ZERO)
    return hashes


@compiled
def _hash_texts(lengths: Places, places: Places, short: Bytes, long: Bytes, seed: np.uint64) -> Hashes:
    hashes = np.empty(len(lengths), np.uint64)
    for row in range(len(lengths)):
        length, place = max(0, lengths[row]), places[row]
        text = short if length <= INLINE else long
        hashes[row] = _hash(text, place, place + length, seed)
    return hashes


@compiled
def _hash(text: Bytes, at: int, end: int, seed: np.uint64) -> np.uint64:
    length = np.uint64(end - at)
    if end - at >= 32:
        one, two, three, four = seed + _P1 + _P2, seed + _P2, seed, seed - _P1
        while end - at >= 32:
            one = _round(one, _word(text, at))
            two = _round(two, _word(text, at + 8))
            three = _round(three, _word(text, at + 16))
            four = _round(four, _word(text, at + 24))
            at += 32
        result = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        result = _merged(_merged(_merged(_merged(result, one), two), three), four)
    else:
        result = seed + _P5
    result += length
    while end - at >= 8:
        result = _rotated(result ^ _round(_ZERO, _word(text, at)), 27) * _P1 + _P4
        at += 8
    if end - at >= 4:
        result = _rotated(result ^ (_half_word(text, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        result = _rotated(result ^ (np.uint64(text[at]) * _P5), 11) * _P1
        at += 1
    result = (result ^ (result >> np.uint64(33))) * _P2
    result = (result ^ (result >> np.uint64(29))) * _P3
    return result ^ (result >> np.uint64(32))


@compiled
def _rotated(word: np.uint64, bits: int) -> np.uint64:
    left = np.uint64(bits)
    return (word << left) | (word >> (_WORD_BITS - left))


@compiled
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _P2, 31) * _P1


@compiled
def _merged(result: np.uint64, lane: np.uint64) -> np.uint64:
    return (result ^ _round(_ZERO, lane)) * _P1 + _P4


@compiled
def _word(text: Bytes, at: int) -> np.uint64:
    return _half_word(text, at) | (_half_word(text, at + 4) << np.uint64(32))


@compiled
def _half_word(text: Bytes, at: int) -> np.uint64:
    # Of a signed place every access would ask first whether it counts from the end, which costs five times as much.
    place = np.uintp(at)
    word = np.uint64(text[place])
    word |= np.uint64(text[place + np.uintp(1)]) << np.uint64(8)
    word |= np.uint64(text[place + np.uintp(2)]) << np.uint64(16)
    return word | (np.uint64(text[place + np.uintp(3)]) << np.uint64(24))
