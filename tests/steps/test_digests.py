"""The compiled digests are those of the library."""

from random import Random

import numpy as np
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from dataflows.steps.scan import ABSENT
from rating.hashing import hash_pieces
from tests.laws.profile import law

NONE = np.uint64(2**64 - 5)


def digests(text: bytes, places: list[tuple[int, int]]) -> list[int]:
    first, behind = np.array(places, np.int32).reshape(-1, 2).T
    found = hash_pieces(np.frombuffer(text, np.uint8), first.copy(), behind.copy(), NONE)
    assert found.dtype == np.uint64
    return found.tolist()


def test_every_length():
    text = Random(1).randbytes(2_000)
    found = digests(text, [(2_000 - length, 2_000) for length in range(2_001)])
    assert found == [xxhash.xxh64_intdigest(text[2_000 - length :]) for length in range(2_001)]


@law(200)
@given(st.randoms(use_true_random=True), st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)), max_size=20))
def test_any_pieces_of_a_text(random: Random, places: list[tuple[int, int]]):
    text = random.choice((random.randbytes(2_000), b"\0" * 2_000, b"\xff" * 2_000))
    pieces = [(min(place), max(place)) for place in places]
    assert digests(text, pieces) == [xxhash.xxh64_intdigest(text[start:end]) for start, end in pieces]


def test_what_is_absent():
    assert digests(b"abc", [(ABSENT, 0), (0, 3), (ABSENT, 2)]) == [int(NONE), xxhash.xxh64_intdigest(b"abc"), int(NONE)]
    assert digests(b"", []) == []
