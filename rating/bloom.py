"""A Bloom filter over 128-bit identities of which a half and the upper half of the other are kept."""

import numpy as np
import numpy.typing as npt

from rating.compiled import compiled
from rating.prices import Mask
from rating.wide import Wide

_FILTER_BITS_PER_EVENT = 16
_SMALLEST_FILTER = 1 << 12
_ONE, _BYTE_SHIFT, _BIT_MASK, _CHECK_SHIFT = np.uint64(1), np.uint64(3), np.uint64(7), np.uint64(32)


class BloomFilter:
    """A Bloom filter with two probes, so that an event never seen costs no search; grows with what it holds."""

    def __init__(self) -> None:
        self._bits = np.zeros(_SMALLEST_FILTER, np.uint8)
        self._held = 0

    def add(self, identity: Wide) -> bool:
        """Adds identities; False, and nothing added, when the filter is too small and must be built anew."""
        if (self._held + len(identity)) * _FILTER_BITS_PER_EVENT > len(self._bits) * 8:
            return False
        self._held += len(identity)
        _set_bits(self._bits, identity)
        return True

    def grow(self, held: int) -> None:
        """Empties the filter and gives it room for twice that many events."""
        needed = max(_SMALLEST_FILTER, held * 2 * _FILTER_BITS_PER_EVENT // 8)
        self._bits = np.zeros(1 << (needed - 1).bit_length(), np.uint8)
        self._held = 0

    def may_hold(self, identity: Wide) -> Mask:
        """Where both bits of an identity are set."""
        return _bits_set(self._bits, identity)


@compiled
def _set_bits(bits: npt.NDArray[np.uint8], identity: Wide) -> None:
    mask = np.uint64(len(bits) - 1)
    for row in range(len(identity)):
        low, high = identity[row, 0] >> _CHECK_SHIFT, identity[row, 1]
        bits[(low >> _BYTE_SHIFT) & mask] |= np.uint8(_ONE << (low & _BIT_MASK))
        bits[(high >> _BYTE_SHIFT) & mask] |= np.uint8(_ONE << (high & _BIT_MASK))


@compiled
def _bits_set(bits: npt.NDArray[np.uint8], identity: Wide) -> Mask:
    mask = np.uint64(len(bits) - 1)
    hit = np.empty(len(identity), np.bool_)
    for row in range(len(identity)):
        low, high = identity[row, 0] >> _CHECK_SHIFT, identity[row, 1]
        first = np.uint64(bits[(low >> _BYTE_SHIFT) & mask]) >> (low & _BIT_MASK)
        second = np.uint64(bits[(high >> _BYTE_SHIFT) & mask]) >> (high & _BIT_MASK)
        hit[row] = (first & second & _ONE) == _ONE
    return hit
