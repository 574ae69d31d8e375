"""Files of events as inputs of the flow: one input partition per file, read from start to end, once.

Owns: which file is which partition (`inputs.json` in the ledger), and the place up to which each has been read. Does
not own: formats (`records`), or what becomes of a record (`decode`, `admit`). The rule: a file is known by its path and
its first bytes; reading goes on where the kept state says, so the same file again brings nothing, and a longer one
brings what was added.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import xxhash
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.catalogs import Catalogs
from dataflows.connectors.records import open_records
from dataflows.connectors.resting import RestingPartition
from dataflows.errors import RatemillError
from dataflows.failures import noted
from dataflows.items import Finished
from dataflows.ledger.folder import LedgerFolder, plain_os_errors, replace_file
from dataflows.steps.decode import decode_chunk
from rating.batch import DecodedBatch
from rating.engine import Admitted, LaneState, RatingSettings, admit
from rating.resolve import NONE_YET

_FINGERPRINT_BYTES = 65_536
_MOST_READ_AHEAD = 4
# In a ledger fed by a topic: the numbers below are those of its partitions.
FIRST_FILE_PARTITION = 16_384


class InputFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that was an input once; `fingerprint` is over its first `fingerprint_bytes` bytes as they were then."""

    partition: int
    path: str
    fingerprint: str
    fingerprint_bytes: int

    @property
    def name(self) -> str:
        """The partition's name in the recovery state."""
        return f"file-{self.partition}"


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """Where reading goes on: position in the file, number of the next record, and the lane's state.

    `finished_size` is the file's size when its end had been read and was reported; None while there is more to read.
    """

    version: int
    position: int
    offset: int
    finished_size: int | None
    lane: bytes


_PLACE_VERSION = 1
_START = _Place(_PLACE_VERSION, 0, 0, None, b"")


def register_inputs(folder: LedgerFolder, paths: Iterable[Path]) -> list[InputFile]:
    """Give every file its partition for ever, in the order given; RatemillError for one that cannot be an input.

    Returns all inputs that the ledger ever had; those not among `paths` have no path and rest.
    """
    with plain_os_errors(f"cannot use {folder.inputs}"):
        known = {file.path: file for file in _load(folder.inputs)}
        first = FIRST_FILE_PARTITION if folder.topic.exists() else 0
        wanted = {str(path.resolve()): path for path in paths}
        for place, path in wanted.items():
            known[place] = _look_at(place, path, known.get(place), first + len(known))
        replace_file(folder.inputs, msgspec.json.format(msgspec.json.encode(list(known.values()))))
    return [file if file.path in wanted else msgspec.structs.replace(file, path="") for file in known.values()]


def _load(path: Path) -> list[InputFile]:
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[InputFile])
    except msgspec.DecodeError as error:
        raise RatemillError(f"{path} is damaged: {error}") from error


def _look_at(place: str, path: Path, before: InputFile | None, number: int) -> InputFile:
    """The file as an input, with that number if it is a new one; opening it says whether it is of a known kind."""
    with _plain_read_errors(path):
        open_records(path, 0).close()
        with open(path, "rb") as file:
            start = file.read(_FINGERPRINT_BYTES)
    if before is None:
        return InputFile(number, place, xxhash.xxh3_64_hexdigest(start), len(start))
    if xxhash.xxh3_64_hexdigest(start[: before.fingerprint_bytes]) != before.fingerprint:
        raise RatemillError(f"{path} was rated before with another content; give the new file another name")
    return before


@dataclass(slots=True)
class ReadingProgress:
    """What the sources of this process have read: bytes per partition and their total, for a progress bar only."""

    bytes_read: dict[int, int]
    bytes_total: int = 0


class FileSource(FixedPartitionedSource):
    """All files the ledger ever had; an item is a batch of admitted records, or the news that a file has ended.

    `resting` are its inputs that are no files, by name.
    """

    def __init__(
        self,
        inputs: Sequence[InputFile],
        catalogs: Catalogs,
        settings: RatingSettings,
        batch_records: int,
        batch_bytes: int,
        progress: ReadingProgress,
        resting: Sequence[str] = (),
    ) -> None:
        self._inputs = {file.name: file for file in inputs}
        # Files have no time of their own at which a catalog could change: one rates a whole run.
        self.catalog = catalogs.latest()
        self.settings = settings
        self.batch_records = batch_records
        self.batch_bytes = batch_bytes
        self.progress = progress
        self._resting = resting
        self.reads_ahead = sum(bool(file.path) for file in inputs) <= _MOST_READ_AHEAD

    def list_parts(self) -> list[str]:
        return [*self._inputs, *self._resting]

    @noted
    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> "StatefulSourcePartition":
        if for_part not in self._inputs:
            assert resume_state is not None, f"{for_part} rests, so it has a state"
            return RestingPartition(resume_state)
        file = self._inputs[for_part]
        if not file.path or is_read_to_end(file, resume_state):
            return RestingPartition(resume_state or msgspec.msgpack.encode(_START))
        return FilePartition(self, file, resume_state)


def is_read_to_end(file: InputFile, place: bytes | None) -> bool:
    """Whether a kept place is the end of the file as it is now."""
    with _plain_read_errors(Path(file.path)):
        return place is not None and _load_place(place).finished_size == Path(file.path).stat().st_size


def _load_place(place: bytes) -> _Place:
    loaded = msgspec.msgpack.decode(place, type=_Place)
    assert loaded.version == _PLACE_VERSION, f"the place in an input has version {loaded.version}"
    return loaded


@dataclass(frozen=True, slots=True)
class _Part:
    """What one read gave: the decoded batch (None: nothing is left), and where the next read begins.

    `file_size` is from before the read, so that nothing written meanwhile is taken for read.
    """

    batch: DecodedBatch | None
    position: int
    bytes_read: int
    file_size: int


class FilePartition(StatefulSourcePartition):
    """One file, decoded and admitted batch by batch; the lane's state is part of its place.

    The next part is read and decoded in a thread while the flow rates this one, for both let go of the interpreter's
    lock; with many files in one process that would only cost memory.
    """

    def __init__(self, source: FileSource, file: InputFile, resume_state: bytes | None) -> None:
        place = _load_place(resume_state) if resume_state else _START
        self._source = source
        self._partition = file.partition
        self._path = Path(file.path)
        self._position = place.position
        self._offset = place.offset
        self._finished_size = place.finished_size
        self._lane = LaneState.load(place.lane) if place.lane else LaneState.new()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read")
        self._ahead: Future[_Part] | None = None
        with _plain_read_errors(self._path):
            self._records = open_records(self._path, place.position)

    @noted
    def next_batch(self) -> Iterable[Admitted | Finished]:
        source = self._source
        part = self._read() if self._ahead is None else self._ahead.result()
        self._ahead = None
        self._position = part.position
        source.progress.bytes_read[self._partition] = part.bytes_read
        if part.batch is None:
            return self._end(part.file_size)
        self._finished_size = None
        self._offset = part.batch.next_offset
        if source.reads_ahead:
            self._ahead = self._thread.submit(self._read)
        self._lane, admitted = admit(self._lane, part.batch, source.catalog, source.settings)
        return [admitted]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            _Place(_PLACE_VERSION, self._position, self._offset, self._finished_size, self._lane.snapshot())
        )

    def close(self) -> None:
        self._thread.shutdown()
        self._records.close()

    def _read(self) -> _Part:
        """The next part of the file; only one is read at a time."""
        source = self._source
        with _plain_read_errors(self._path):
            size = self._path.stat().st_size
            lines = self._records.read(source.batch_records, source.batch_bytes)
            bytes_read = self._records.bytes_read()
        batch = decode_chunk(lines, self._partition, self._offset, source.catalog) if len(lines) else None
        return _Part(batch, self._records.position, bytes_read, size)

    def _end(self, size: int) -> Iterable[Finished]:
        if self._finished_size == size:
            raise StopIteration
        self._finished_size = size
        latest = self._lane.latest_time
        return [
            Finished(self._partition, self._offset, None if latest == NONE_YET else latest, self._source.catalog.digest)
        ]


@contextmanager
def _plain_read_errors(path: Path) -> Iterator[None]:
    with plain_os_errors(f"cannot read the events {path}"):
        yield
