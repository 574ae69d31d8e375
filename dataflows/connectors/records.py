"""Raw records out of a file: lines of NDJSON, plain or packed with gzip or Zstandard, or the rows of a Parquet file.

Owns: formats, and where a record begins and ends. Does not own: what a record says. The rule: a file's kind is told by
its first bytes, never by its name. A position is a byte in the unpacked text, or a row; reading can go on from it.
"""

from pathlib import Path
from typing import Protocol

import pyarrow as pa

from dataflows.connectors.parquet_records import ParquetRecords
from dataflows.errors import RatemillError

_PARQUET = b"PAR1"
_PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SKIPPED_AT_ONCE = 16 << 20


class Records(Protocol):
    """Records of a file in their order; `position` is where the next read begins."""

    position: int

    def read(self, records: int, size: int) -> list[bytes]:
        """The next records, at most so many and about so many bytes; empty at the end. A blank line is a record too."""
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
    """Lines of text. The last one needs no newline; a line longer than a whole read is cut to that length."""

    def __init__(self, path: Path, position: int, packing: str | None) -> None:
        self.position = position
        self._file = pa.OSFile(str(path), "rb")
        self._text = self._file if packing is None else pa.CompressedInputStream(self._file, packing)
        self._lines: list[bytes] = []
        self._rest = b""
        self._cuts: dict[int, int] = {}  # row of `_lines` it will be: bytes left out of it
        self._ended = False
        if packing is None:
            self._file.seek(position)
        else:
            self._skip(position)

    def read(self, records: int, size: int) -> list[bytes]:
        """The next lines, without their ends."""
        if len(self._lines) < records and not self._ended:
            self._fill(records, size)
        lines, self._lines = self._lines[:records], self._lines[records:]
        self.position += sum(map(len, lines)) + len(lines)
        if self._cuts:
            self.position += sum(cut for row, cut in self._cuts.items() if row < len(lines))
            self._cuts = {row - len(lines): cut for row, cut in self._cuts.items() if row >= len(lines)}
        return lines

    def bytes_read(self) -> int:
        """How far into the file reading has come."""
        return self._file.tell()

    def close(self) -> None:
        """Let go of the file."""
        self._text.close()
        self._file.close()

    def _fill(self, records: int, size: int) -> None:
        waiting = 0
        while not self._lines or (len(self._lines) < records and waiting < size):
            chunk = self._text.read(size)
            if not chunk:
                self._end()
                return
            waiting += len(chunk)
            end = chunk.rfind(b"\n")
            if end < 0:
                self._lengthen(chunk, size)
            else:
                self._lines += (self._rest + chunk[:end]).split(b"\n")
                self._rest = chunk[end + 1 :]

    def _lengthen(self, chunk: bytes, size: int) -> None:
        """The line goes on and on: keep its beginning only, lest one line fill the memory."""
        kept = chunk[: max(0, size - len(self._rest))]
        self._rest += kept
        if len(kept) < len(chunk):
            row = len(self._lines)
            self._cuts[row] = self._cuts.get(row, 0) + len(chunk) - len(kept)

    def _end(self) -> None:
        self._ended = True
        if self._rest:
            self._lines.append(self._rest)
            self._rest = b""

    def _skip(self, position: int) -> None:
        """Unpack and drop what was read before: packed text cannot be entered in its middle."""
        left = position
        while left and (dropped := len(self._text.read(min(left, _SKIPPED_AT_ONCE)))):
            left -= dropped
