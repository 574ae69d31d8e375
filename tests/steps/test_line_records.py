"""Lines of a file: however they are read, and from wherever, they are the same lines at the same places."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dataflows.connectors import records
from dataflows.connectors.records import LineRecords, open_records
from dataflows.settings import Settings
from schemas.events import RECORD_BYTES_LIMIT
from tests.laws.profile import law
from tests.steps.comparing import SIMPLE, decoded_chunk

PACKINGS = {"plain": lambda text: text, "gzip": gzip.compress, "zstd": zstandard.compress}
LONGEST = 300
every_packing = pytest.mark.parametrize("packing", PACKINGS)
chunks = st.sampled_from([1, 7, 64, 1_000, 1 << 18])
lengths = st.lists(st.integers(0, LONGEST) | st.integers(0, 5), max_size=30)
reads = st.lists(st.tuples(st.integers(1, 40), st.integers(LONGEST, 3 * LONGEST)), min_size=1, max_size=8)
small_reads = st.lists(st.tuples(st.integers(1, 40), st.integers(1, LONGEST)), min_size=1, max_size=8)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "events.ndjson"


def lines_of(lengths: list[int], is_cut: bool) -> list[bytes]:
    """Lines that differ from each other; with `is_cut` the last one, if it has a byte, has no line feed."""
    lines = [
        bytes([48 + number % 64, *b"x\r\0\xff"] * length)[:length] + b"\n" for number, length in enumerate(lengths)
    ]
    return [*lines[:-1], lines[-1][:-1]] if is_cut and lines and lengths[-1] else lines


def read_all(source: LineRecords, sizes: list[tuple[int, int]]) -> Iterator[tuple[bytes, int]]:
    """Each read and the position behind it, up to the end; the sizes come again and again."""
    number = 0
    while text := source.read(*sizes[number % len(sizes)]).tobytes():
        assert text.count(b"\n") <= sizes[number % len(sizes)][0]
        yield text, source.position
        number += 1
    assert source.read(1, 1).tobytes() == b""
    source.close()


@every_packing
@law(60)
@given(lengths, st.booleans(), chunks, reads)
def test_any_reads_give_the_same_lines(path, monkeypatch, packing, lengths, is_cut, chunk, reads):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    lines = lines_of(lengths, is_cut)
    path.write_bytes(PACKINGS[packing](b"".join(lines)))
    found, position = b"", 0
    for text, behind in read_all(open_records(path, 0), reads):
        found += text
        position += len(text)
        assert position == behind
        assert text.endswith(b"\n") or position == len(b"".join(lines))
    assert found == b"".join(lines)


@every_packing
@law(30)
@given(lengths, st.booleans(), chunks, reads, reads)
def test_reading_goes_on_from_any_position(path, monkeypatch, packing, lengths, is_cut, chunk, reads, other_reads):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    whole = b"".join(lines_of(lengths, is_cut))
    path.write_bytes(PACKINGS[packing](whole))
    positions = [position for _, position in read_all(open_records(path, 0), reads)]
    for position in [0, *positions, len(whole)]:
        rest = list(read_all(open_records(path, position), other_reads))
        assert b"".join(text for text, _ in rest) == whole[position:]
        assert [behind for _, behind in rest][-1:] == ([len(whole)] if position < len(whole) else [])


@every_packing
@law(40)
@given(lengths, st.booleans(), chunks, small_reads)
def test_a_long_line_is_cut_and_the_next_one_follows(path, monkeypatch, packing, lengths, is_cut, chunk, reads):
    """Each line is whole, or as many bytes of its beginning as were asked for; and so says the position behind it."""
    monkeypatch.setattr(records, "_CHUNK", chunk)
    lines = lines_of(lengths, is_cut)
    path.write_bytes(PACKINGS[packing](b"".join(lines)))
    found: list[bytes] = []
    for text, position in read_all(open_records(path, 0), reads):
        found += split(text)
        assert position == len(b"".join(lines[: len(found)]))
    sizes = {size for _, size in reads}
    for line, one in zip(split(b"".join(lines)), found, strict=True):
        assert one == line or (line.startswith(one) and len(one) in sizes)


@law(60)
@given(lengths, st.booleans(), chunks, st.integers(1, 40), st.integers(1, LONGEST))
def test_a_long_line_is_cut_the_same_wherever_reading_begins(path, monkeypatch, lengths, is_cut, chunk, count, size):
    """A run that was stopped must make of it what another one does."""
    monkeypatch.setattr(records, "_CHUNK", chunk)
    path.write_bytes(b"".join(lines_of(lengths, is_cut)))
    found = list(read_all(open_records(path, 0), [(count, size)]))
    for number, (_, position) in enumerate(found):
        rest = read_all(open_records(path, position), [(count, size)])
        again = [line for text, _ in rest for line in split(text)]
        assert again == [line for text, _ in found[number + 1 :] for line in split(text)]


def test_a_line_that_goes_on_and_on_is_not_kept(path):
    path.write_bytes(b"x" * (3 << 20) + b"\n" + b"next\n" + b"y" * (3 << 20))
    source = open_records(path, 0)
    assert [split(text) for text, _ in read_all(source, [(10, 1 << 16)])] == [
        [b"x" * (1 << 16)],
        [b"next"],
        [b"y" * (1 << 16)],
    ]
    assert source.position == path.stat().st_size


def test_the_beginning_of_a_line_is_never_an_event(path):
    """The smallest read that can be set is longer than a record may be."""
    smallest = Settings.model_json_schema()["properties"]["batch_bytes"]["minimum"]
    path.write_bytes(SIMPLE.ljust(RECORD_BYTES_LIMIT) + b"?" * (1 << 20) + b"\n")
    batch = decoded_chunk(open_records(path, 0).read(1, smallest).tobytes())
    assert batch.events["reason"].to_list() == ["too_large"]


def split(text: bytes) -> list[bytes]:
    return text.removesuffix(b"\n").split(b"\n") if text else []
