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
# Small enough to stay in a core's cache while it is cut into lines: 0.15 µs a record, 0.48 µs in chunks of 16 MB.
_CHUNK = 1 << 18


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
        self._lines_end = position
        self._rest = b""
        self._rest_cut = 0
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
        self.position = self._lines_end - sum(map(len, self._lines)) - len(self._lines)
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
            chunk = self._text.read(_CHUNK)
            if not chunk:
                self._end()
                return
            waiting += len(chunk)
            end = chunk.rfind(b"\n")
            if end >= 0:
                self._add(self._rest + chunk[:end])
                self._rest = chunk[end + 1 :]
            else:
                self._lengthen(chunk, size)

    def _add(self, text: bytes) -> None:
        # The first of these lines, which may be a cut one, is always among those that the read under way gives away.
        self._lines += text.split(b"\n")
        self._lines_end += len(text) + 1 + self._rest_cut
        self._rest_cut = 0

    def _lengthen(self, chunk: bytes, size: int) -> None:
        """The line goes on and on: keep its beginning only, lest one line fill the memory."""
        kept = chunk[: max(0, size - len(self._rest))]
        self._rest_cut += len(chunk) - len(kept)
        self._rest += kept

    def _end(self) -> None:
        self._ended = True
        if self._rest:
            self._add(self._rest)
            self._rest = b""

    def _skip(self, position: int) -> None:
        """Unpack and drop what was read before: packed text cannot be entered in its middle."""
        left = position
        while left and (dropped := len(self._text.read(min(left, _CHUNK)))):
            left -= dropped
