"""Cases through the rating flow: files in, a ledger out; undisturbed, or with two workers and killed on the way."""

import multiprocessing
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from zlib import crc32

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.launcher import run_rating
from dataflows.ledger.published import read_table
from dataflows.settings import Settings
from rating.catalog import compile_catalog
from schemas.ledger import RATED
from tests.cases.core import in_order, read_ledger
from tests.cases.notation import Case
from tests.cases.raters import raw_records, write_catalog
from tests.flow.child import POINTS
from tests.oracle.rated import Rated

# Each is reached by every run, whatever its records are.
KILL_POINTS = (
    "before a batch is read",
    "after a batch was read",
    "before the place is kept",
    "while rows are written",
    "before a file is on disk",
    "after a file is on disk",
    "before a commit is sealed",
    "before the manifest is replaced",
    "after the manifest was replaced",
)
_SECONDS_TO_RATE = 120
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.cases.flow"])


def can_be_files(case: Case) -> bool:
    """Whether the case can be read from files: they have no record timestamps, no end of line in a record, and no order
    among them, which matters where lanes lie further apart than the lateness.
    """
    in_order = case.partitions == 1 or case.lateness is None
    return in_order and all(record.record_time is None and b"\n" not in record.raw for record in case.records)


def rate_with_flow(case: Case) -> list[Rated]:
    """One process, one worker."""
    with TemporaryDirectory() as folder:
        _write(case, Path(folder))
        rate_folder(folder, _settings(case, workers=1), None)
        return _read(case, Path(folder))


def rate_with_killed_flow(case: Case) -> list[Rated]:
    """Two workers, killed with -9 at a point that the case's place chooses, then started again."""
    settings = _settings(case, workers=2)
    point = KILL_POINTS[crc32(case.place.encode()) % len(KILL_POINTS)]
    with TemporaryDirectory() as folder:
        _write(case, Path(folder))
        ended = _run(folder, settings, point)
        assert ended == -signal.SIGKILL, f"the flow was not killed {point}, but ended with {ended}"
        assert _run(folder, settings, None) == 0
        return _read(case, Path(folder))


def _run(folder: str, settings: Settings, point: str | None) -> int | None:
    process = _processes.Process(target=rate_folder, args=(folder, settings, point))
    process.start()
    process.join(_SECONDS_TO_RATE)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def rate_folder(folder: str, settings: Settings, point: str | None) -> None:
    """Rates the folder's files into its ledger; dies at the point if there is one."""
    if point is not None:
        _die_at(point)
    catalog = Path(folder) / "catalog"
    events = sorted((Path(folder) / "events").iterdir())
    run_rating(compile_catalog(load_catalog(catalog)), catalog, events, Path(folder) / "ledger", settings)


def _die_at(point: str) -> None:
    """Arrange the death of this process at the first call that comes by, in whatever thread."""
    owner, name, after = POINTS[point]
    original: Callable[..., object] = getattr(owner, name)

    def dying(*arguments: object, **named: object) -> None:
        if after:
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


def _settings(case: Case, workers: int) -> Settings:
    hours = None if case.lateness is None else int(case.lateness.total_seconds() // 3600)
    batch = max(20, len(case.records) // 5)
    return Settings(workers=workers, lateness_hours=hours, batch_records=batch, epoch_seconds=0.02)


def _write(case: Case, folder: Path) -> None:
    write_catalog(case, folder / "catalog")
    lanes: dict[int, list[bytes]] = defaultdict(list)
    for record in case.records:
        lanes[record.partition].append(record.raw + b"\n")
    (folder / "events").mkdir()
    for partition in range(case.partitions):
        (folder / "events" / f"{partition:04}.ndjson").write_bytes(b"".join(lanes[partition]))


def _read(case: Case, folder: Path) -> list[Rated]:
    tables = (read_table(folder / "ledger", table) for table in RATED)
    return in_order(raw_records(case), read_ledger(*tables))
