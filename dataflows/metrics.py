"""How the processes of a flow count their work: batch by batch and commit by commit, at almost no cost.

Owns: the counters, and the files that several processes keep them in. Does not own: what a metric means
(`metrics_table`), or the port (`metrics_server`). The rule: something is counted once a batch or a commit, never once
an event; and only in `dataflows`, as `rating` knows no clock.

A process that was given a folder keeps its numbers in files there, and whoever gave it adds them up; otherwise they
stay in prometheus-client's own registry. A process that is started again goes on with the numbers of the one before.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import prometheus_client
from prometheus_client import values

from dataflows.ledger.folder import plain_os_errors
from dataflows.metrics_table import (
    EPOCH_SECONDS,
    LINE_ITEMS,
    PARTITION_PROGRESS,
    READ_BYTES,
    RECORDS,
    SNAPSHOT_BYTES,
    STAGE_SECONDS,
    Metric,
)
from schemas.verdicts import VERDICT_LABELS

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_PROCESS = "PROMETHEUS_MULTIPROC_PROCESS"
_FILES = ("counter_{}.db", "histogram_{}.db", "gauge_max_{}.db")
_BYTES_OF_A_FILE = 256 << 10
_BOUNDS_OF_EPOCHS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120)


class Stage(StrEnum):
    """What the processes of the rating flow spend their time on, in the order of the flow."""

    READ = "read"
    DECODE = "decode"
    ADMIT = "admit"
    RATE = "rate"
    PRICE = "price"
    WRITE = "write"
    SEAL = "seal"
    PUBLISH = "publish"
    MERGE = "merge"
    SNAPSHOT = "snapshot"


class Step(StrEnum):
    """The steps of the rating flow that have a state."""

    READ = "read"
    RATE = "rate"
    LEDGER = "ledger"


@contextmanager
def folder_for(processes: int) -> Iterator[Path]:
    """A folder where so many child processes keep their numbers during the block; they learn it by the environment.

    Its files are as large as they will be: a process that finds no room on disk for a page of a mapped file is killed.
    """
    what = "cannot keep metrics in a temporary folder (set TMPDIR to another place, or RATEMILL_METRICS_PORT to 0)"
    with plain_os_errors(what):
        folder = tempfile.TemporaryDirectory(prefix="ratemill-metrics-", ignore_cleanup_errors=True)
    before = os.environ.get(_FOLDER)
    with folder:
        with plain_os_errors(what):
            for path in (Path(folder.name) / name.format(process) for process in range(processes) for name in _FILES):
                path.write_bytes(bytes(_BYTES_OF_A_FILE))
        os.environ[_FOLDER] = folder.name
        try:
            yield Path(folder.name)
        finally:
            del os.environ[_FOLDER]
            os.environ |= {} if before is None else {_FOLDER: before}


def process_environment(process: int) -> dict[str, str]:
    """What tells a child process which of them it is, so that it goes on with the numbers of the one before."""
    return {_PROCESS: str(process)}


def _choose_values() -> None:
    """Numbers in files for a process that was told which one it is; other programs may use the folder's variable."""
    process, folder = os.environ.get(_PROCESS), os.environ.get(_FOLDER)
    in_files = process and folder and Path(folder).is_dir()
    values.ValueClass = values.MultiProcessValue(lambda: process) if in_files else values.MutexValue


def _counter(metric: Metric) -> prometheus_client.Counter:
    return prometheus_client.Counter(metric.name, metric.meaning, metric.labels)


_choose_values()
_records = _counter(RECORDS)
_records_of = {verdict: _records.labels(verdict) for verdict in VERDICT_LABELS}
_line_items = _counter(LINE_ITEMS)
_read_bytes = _counter(READ_BYTES)
_seconds = _counter(STAGE_SECONDS)
_seconds_of = {stage: _seconds.labels(stage) for stage in Stage}
_epochs = prometheus_client.Histogram(EPOCH_SECONDS.name, EPOCH_SECONDS.meaning, buckets=_BOUNDS_OF_EPOCHS)
_snapshot_bytes = _counter(SNAPSHOT_BYTES)
_snapshot_bytes_of = {step: _snapshot_bytes.labels(step) for step in Step}
_progress = prometheus_client.Gauge(
    PARTITION_PROGRESS.name, PARTITION_PROGRESS.meaning, PARTITION_PROGRESS.labels, multiprocess_mode="max"
)


@contextmanager
def timed(stage: Stage) -> Iterator[None]:
    """Count the time of the block, or of a function that this decorates, as time of a stage."""
    began = time.perf_counter()
    try:
        yield
    finally:
        _seconds_of[stage].inc(time.perf_counter() - began)


def count_read(size: int) -> None:
    """So many bytes of records were read."""
    _read_bytes.inc(size)


def count_snapshot(step: Step, snapshot: bytes) -> bytes:
    """The snapshot, counted."""
    _snapshot_bytes_of[step].inc(len(snapshot))
    return snapshot


@dataclass(slots=True)
class CommitMeter:
    """What one writer's open commit will count once it is closed; one thread at a time."""

    _verdicts: Counter[str] = field(default_factory=Counter)
    _line_items: int = 0
    _progress: dict[int, int] = field(default_factory=dict)
    _closed_at: float | None = None

    def add(self, verdicts: Mapping[str, int], line_items: int) -> None:
        """Rows came: records by verdict, and line items."""
        self._verdicts.update(verdicts)
        self._line_items += line_items

    def reach(self, partition: int, progress: int | None) -> None:
        """A partition has come to a time, in microseconds since 1970."""
        if progress is not None:
            self._progress[partition] = progress

    def close(self, snapshot: bytes) -> bytes:
        """Count the commit, which has just been closed; gives the writer's snapshot back."""
        now = time.perf_counter()
        if self._closed_at is not None:
            _epochs.observe(now - self._closed_at)
        for verdict, records in self._verdicts.items():
            _records_of[verdict].inc(records)
        _line_items.inc(self._line_items)
        for partition, progress in self._progress.items():
            _progress.labels(partition).set(progress / 1_000_000)
        self._verdicts, self._line_items, self._progress, self._closed_at = Counter(), 0, {}, now
        return count_snapshot(Step.LEDGER, snapshot)
