"""Raw records out of a file: lines of NDJSON, plain or packed with gzip or Zstandard, or the rows of a Parquet file.

Owns: formats, and where a record begins and ends. Does not own: what a record says. The rule: a file's kind is told by
its first bytes, never by its name. A position is a byte in the unpacked text, or a row; reading can go on from it.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from dataflows.connectors.parquet_records import ParquetRecords
from dataflows.errors import RatemillError
from dataflows.steps.lines import NO_END, after_last_line, count_lines, end_of_line
from rating.texts import Bytes

_PARQUET = b"PAR1"
_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 1 << 18
_TYPICAL_LINE = 256
_NOTHING = np.zeros(0, np.uint8)


class Records(Protocol):
    """Records of a file in their order; `position` is where the next read begins."""

    position: int

    def read(self, records: int, size: int) -> Bytes:
        """The next records as lines, at most so many and about so many bytes; empty at the end. Lines may be blank."""
        ...

    def bytes_read(self) -> int:
        """How far into the file, packed as it is, reading has come."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


def open_records(path: Path, position: int) -> Records:
    """The records of a file from a position on; RatemillError for what is no file of events."""
    if path.exists() and not path.is_file():
        raise RatemillError(f"cannot read the events {path}: it is not a file")
    with open(path, "rb") as file:
        magic = file.read(4)
    if magic == _PARQUET:
        return ParquetRecords(path, position)
    packing = next((packing for start, packing in _PACKINGS.items() if magic.startswith(start)), None)
    return LineRecords(path, position, packing)


class LineRecords:
    """Lines of text. The last one needs no line feed; a line longer than a whole read is cut to that length."""

    def __init__(self, path: Path, position: int, packing: str | None) -> None:
        self.position = position
        self._file = pa.OSFile(str(path), "rb")
        self._text = self._file if packing is None else pa.CompressedInputStream(self._file, packing)
        self._waiting = _NOTHING
        self._line_length = _TYPICAL_LINE
        self._ended = False
        if packing is None:
            self._file.seek(position)
        else:
            self._skip(position)

    def read(self, records: int, size: int) -> Bytes:
        """The next lines with their ends."""
        text = self._waiting
        if len(text) < size and count_lines(text) < records:
            text = self._lengthened(text, max(_CHUNK, min(size, records * self._line_length) - len(text)))
        while len(text) < size and after_last_line(text) == 0 and not self._ended:
            text = self._lengthened(text, _CHUNK)
        cut = 0
        lines, end = records, end_of_line(text[:size], records)
        if end == NO_END:
            end = after_last_line(text[:size])
            if len(text) < size and self._ended:
                end = len(text)
            elif end == 0:
                text, cut = self._without_rest_of_line(text, size)
                end = min(len(text), size + 1)
            lines = max(1, count_lines(text[:end]))
        self._line_length = end // lines + 1
        self._waiting = text[end:].copy()
        self.position += end + cut
        return text[:end]

    def bytes_read(self) -> int:
        """How far into the file reading has come."""
        return self._file.tell()

    def close(self) -> None:
        """Let go of the file."""
        self._text.close()
        self._file.close()

    def _lengthened(self, text: Bytes, wanted: int) -> Bytes:
        """The text and what follows it in the file, at most so many bytes more."""
        longer = np.empty(len(text) + wanted, np.uint8)
        longer[: len(text)] = text
        read = self._text.readinto(longer[len(text) :])
        self._ended = read == 0
        return longer[: len(text) + read]

    def _without_rest_of_line(self, text: Bytes, size: int) -> tuple[Bytes, int]:
        """A line that does not end within `size` bytes is cut to that length, wherever reading began.

        Gives the text without the rest of its first line, and the bytes left out.
        """
        start, part, cut = text[:size], text[size:], 0
        while True:
            rest = end_of_line(part, 1)
            if rest != NO_END:
                return np.concatenate([start, part[rest - 1 :]]), cut + rest - 1
            cut += len(part)
            if self._ended:
                return start, cut
            part = self._lengthened(_NOTHING, _CHUNK)

    def _skip(self, position: int) -> None:
        """Unpack and drop what was read before: packed text cannot be entered in its middle."""
        left = position
        while left and (dropped := len(self._text.read(min(left, _CHUNK)))):
            left -= dropped
