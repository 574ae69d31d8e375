"""Names for key groups that Bytewax spreads evenly over workers.

Bytewax sends an item to worker `siphash13(key) % workers`. The name of key group i is chosen so that its hash leaves
i modulo the number of key groups; so for every number of workers that divides it, each worker gets equally many.
A name is part of the recovery state: the choice may never change.

>>> key_group_names(16)[:3]
('g0-5', 'g1-5', 'g2-2')
"""

from functools import lru_cache
from itertools import count

_MASK = (1 << 64) - 1


@lru_cache(maxsize=8)
def key_group_names(key_groups: int) -> tuple[str, ...]:
    """One name per key group."""
    return tuple(_name(group, key_groups) for group in range(key_groups))


def _name(group: int, key_groups: int) -> str:
    names = (f"g{group}-{salt}" for salt in count())
    return next(name for name in names if worker_hash(name) % key_groups == group)


def worker_hash(key: str) -> int:
    """The 64-bit hash by which Bytewax chooses the worker of a key: Rust's default hasher over the text."""
    return siphash13(key.encode() + b"\xff")


def siphash13(content: bytes) -> int:
    """SipHash-1-3 with a key of zeros.

    >>> hex(siphash13(bytes(range(15))))
    '0xf30eb725bb91c9ea'
    """
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    whole = len(content) // 8 * 8
    tail = content[whole:].ljust(7, b"\0") + bytes([len(content) & 0xFF])
    for start in range(0, whole, 8):
        _absorb(state, int.from_bytes(content[start : start + 8], "little"))
    _absorb(state, int.from_bytes(tail, "little"))
    state[2] ^= 0xFF
    for _ in range(3):
        _round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _absorb(state: list[int], word: int) -> None:
    state[3] ^= word
    _round(state)
    state[0] ^= word


def _round(state: list[int]) -> None:
    a, b, c, d = state
    a = (a + b) & _MASK
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c = (c + d) & _MASK
    d = _rotated(d, 16) ^ c
    a = (a + d) & _MASK
    d = _rotated(d, 21) ^ a
    c = (c + b) & _MASK
    b = _rotated(b, 17) ^ c
    c = _rotated(c, 32)
    state[:] = a, b, c, d


def _rotated(word: int, bits: int) -> int:
    return ((word << bits) | (word >> (64 - bits))) & _MASK
