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
from dataflows.steps.lines import NO_END, end_of_line

_PARQUET = b"PAR1"
_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_CHUNK = 1 << 18
_TYPICAL_LINE = 256


class Records(Protocol):
    """Records of a file in their order; `position` is where the next read begins."""

    position: int

    def read(self, records: int, size: int) -> bytes:
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
        self._waiting = b""
        self._ended = False
        if packing is None:
            self._file.seek(position)
        else:
            self._skip(position)

    def read(self, records: int, size: int) -> bytes:
        """The next lines with their ends."""
        lines = self._fill(records, size)
        cut = 0
        if not lines and not self._ended:
            cut = self._cut_line(size)
        end = end_of_line(np.frombuffer(self._waiting, np.uint8), records)
        if end == NO_END:
            end = len(self._waiting) if self._ended else self._waiting.rfind(b"\n") + 1
        text, self._waiting = self._waiting[:end], self._waiting[end:]
        self.position += len(text) + cut
        return text

    def bytes_read(self) -> int:
        """How far into the file reading has come."""
        return self._file.tell()

    def close(self) -> None:
        """Let go of the file."""
        self._text.close()
        self._file.close()

    def _fill(self, records: int, size: int) -> int:
        """Reads on until enough is waiting; gives the number of line ends in it."""
        parts = [self._waiting]
        held, lines = len(self._waiting), self._waiting.count(b"\n")
        while not self._ended and lines < records and held < size:
            line_length = held // lines + 1 if lines else _TYPICAL_LINE
            part = self._text.read(min(max(_CHUNK, (records - lines) * line_length), max(1, size - held)))
            self._ended = not part
            parts.append(part)
            held += len(part)
            lines += part.count(b"\n")
        self._waiting = b"".join(parts)
        return lines

    def _cut_line(self, size: int) -> int:
        """The line that is waiting goes on and on: its beginning is kept, the rest is read and dropped.

        Gives the number of bytes dropped.
        """
        whole = len(self._waiting)
        self._waiting = self._waiting[:size]
        dropped = whole - len(self._waiting)
        while part := self._text.read(_CHUNK):
            end = part.find(b"\n")
            if end >= 0:
                self._waiting += part[end:]
                return dropped + end
            dropped += len(part)
        self._ended = True
        return dropped

    def _skip(self, position: int) -> None:
        """Unpack and drop what was read before: packed text cannot be entered in its middle."""
        left = position
        while left and (dropped := len(self._text.read(min(left, _CHUNK)))):
            left -= dropped
