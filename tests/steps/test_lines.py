"""Lines: what is one, which number it has, and records that are more than one."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.steps.decode import decode, decode_chunk
from dataflows.steps.lines import NO_END, after_last_line, count_lines, end_of_line
from tests.laws.profile import law
from tests.steps.comparing import ELEMENTS, PARTITION, SIMPLE, catalog_for, check, check_chunk, decoded, decoded_chunk

BLANK = (b"", b" ", b"\r", b" \t\r", b"   ")
NO_BLANK = (b"\v", b"\f", b"\0", b"\xa0", b"\xc2\xa0", b"\xef\xbb\xbf")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \r\r\n", b"\n\n", b"\n\r\n \n"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r", b" ", b"\n\n"])
def test_ends_of_lines(end, last):
    check_chunk(end.join([SIMPLE, b'{"id":', SIMPLE]) + last, first=10)


@pytest.mark.parametrize("blank", BLANK)
def test_blank_lines_have_a_number_and_are_no_records(blank):
    batch = decoded_chunk(b"\n".join([blank, SIMPLE, blank, blank, SIMPLE, blank, b""]), first=7)
    assert batch.events["offset"].to_list() == [8, 11]
    assert batch.next_offset == 13
    assert batch.events["reason"].to_list() == [None, None]
    assert batch.record_times is None


@pytest.mark.parametrize("blank", NO_BLANK)
def test_other_blanks_are_records(blank):
    check_chunk(b"\n".join([blank, SIMPLE, blank]))
    assert len(decoded_chunk(blank).events) == 1


@pytest.mark.parametrize("chunk", [b"", b"\n", b"\n\n \r\n", b" "])
def test_chunks_without_a_record(chunk):
    for elements in ELEMENTS:
        check_chunk(chunk, elements, first=5)
        assert len(decoded_chunk(chunk, elements).events) == 0


def test_a_blank_record_of_a_log_is_a_record():
    assert check([*BLANK, SIMPLE, *BLANK]) == ["malformed_json"] * 5 + [None] + ["malformed_json"] * 5


def test_offsets_of_a_log_may_have_gaps():
    offsets, times = np.array([3, 7, 8, 20]), np.array([40, 30, 20, 10])
    batch = decode([SIMPLE, b"", b"x\ny", SIMPLE], 4, offsets, catalog_for(()), times)
    assert (batch.partition, batch.next_offset, batch.elements) == (4, 21, {})
    assert batch.events["offset"].to_list() == [3, 7, 8, 20]
    assert np.array_equal(batch.record_times, times)


def test_a_log_without_records():
    batch = decoded([])
    assert (len(batch.events), batch.next_offset) == (0, 0)
    assert [len(column) for column in batch.elements.values()] == [0] * len(ELEMENTS[0])


def test_records_with_line_feeds_inside():
    """A line feed is a blank of JSON, so such a record may be an event; its neighbours do not notice."""
    spread = SIMPLE.replace(b",", b",\n").replace(b"{", b"{\n").replace(b"}", b"\n}")
    inside = SIMPLE.replace(b'"2"', b'"a\nb"')
    records = [
        SIMPLE,
        spread,
        SIMPLE,
        b"\n",
        b"\n" + SIMPLE,
        SIMPLE + b"\n",
        inside,
        SIMPLE + b"\n" + SIMPLE,
        b"",
        SIMPLE,
    ]
    reasons = check(records)
    assert reasons == [None, None, None, "malformed_json", None, None, *["malformed_json"] * 3, None]
    texts = decoded(records).elements["a"].to_list()
    assert texts[1] == spread[spread.index(b'"a":') + 4 : spread.index(b',\n"n"')].decode()


@law(100)
@given(st.lists(st.sampled_from([SIMPLE, *BLANK, *NO_BLANK, b"\n", b"{\n}", b"x"]), max_size=12))
def test_any_records_and_lines(records: list[bytes]):
    check(records)
    check_chunk(b"\n".join(records), first=3)


def test_a_batch_outlives_its_chunk():
    """Its strings point into the text, which must stay as it is."""
    line = SIMPLE.replace(b'"x"', b'"a rather long subscription"') + b"\n"
    batch = decode_chunk(np.frombuffer(line * 1_000, np.uint8).copy(), PARTITION, 0, catalog_for(("n",)))
    others = [np.full(len(line) * 1_000, number, np.uint8) for number in range(50)]
    assert batch.events["subscription_id"].to_list() == ["a rather long subscription"] * len(others) * 20
    assert batch.elements["n"].to_list() == ['"2"'] * 1_000


@law(100)
@given(st.randoms(use_true_random=True), st.integers(0, 60_000), st.integers(1, 40_000), st.integers(1, 70))
def test_counting_lines(random: Random, length: int, apart: int, wanted: int):
    text = bytearray(b"x" * length)
    for place in range(random.randrange(apart), length, apart):
        text[place] = 10
    array = np.frombuffer(bytes(text), np.uint8)
    ends = [place + 1 for place, byte in enumerate(text) if byte == 10]
    assert count_lines(array) == len(ends)
    assert after_last_line(array) == (ends[-1] if ends else 0)
    assert end_of_line(array, wanted) == (ends[wanted - 1] if wanted <= len(ends) else NO_END)
