"""Following the topic `catalog` while a flow runs: each new version is kept and compiled before it takes effect.

Owns: one thread per process. Does not own: which version rates what (`catalog_versions`). The rule: whatever was
published before `checked_at` is in the history; a broker that is away is waited for, what no waiting mends is told.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread

from confluent_kafka import KafkaException

from dataflows.catalog_entries import catalog_of
from dataflows.catalog_history import CatalogVersion, VersionStamp
from dataflows.catalog_versions import SURE_AHEAD, CatalogVersions
from dataflows.connectors.catalog_topic import (
    PASSING,
    CatalogReader,
    PublishedState,
    VersionRecord,
    check_catalog_topic,
    damaged,
)
from dataflows.connectors.kafka_client import plain_kafka_errors, topic_name
from dataflows.connectors.kafka_faults import HEARING, kafka_fault
from dataflows.errors import RatemillError
from dataflows.moments import moment_text, now
from dataflows.settings import Settings
from rating.catalog import compile_catalog

_SECONDS_BETWEEN_LOOKS = 0.2
# A broker that has just started may not know a topic, or a user, that it will know in a moment.
_SECONDS_OF_PATIENCE = 30
_SECONDS_TO_STOP = 15


class CatalogFollower:
    """Gives `versions` what is published, from `start` until `stop`; `remark` gets what a person should know."""

    def __init__(self, settings: Settings, versions: CatalogVersions, remark: Callable[[str], None]) -> None:
        self._settings = settings
        self._versions = versions
        self._remark = remark
        self._stopping = Event()
        self._first_look = Event()
        self._checked_at = 0
        self._failure: RatemillError | None = None
        self._refused_since: float | None = None
        # The numbers of the `version` records whose entries were others, in this look and the one before.
        self._unclear: int | None = None
        self._unclear_before: int | None = None
        self._thread = Thread(target=self._run, name="catalog", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        self._thread.join(_SECONDS_TO_STOP)

    def checked_at(self) -> int:
        """The moment (microseconds UTC) at which the topic had last been read to its end; 0 before the first time."""
        return self._checked_at

    def failure(self) -> RatemillError | None:
        """Why nothing is followed any more, if that is so."""
        return self._failure

    def wait_for_first(self, timeout: float) -> None:
        """Return when a catalog is there to rate with; RatemillError if there is none, or none can be had in time."""
        known = self._first_look.wait(timeout)
        if self._failure is not None:
            raise self._failure
        topic = topic_name(self._settings, "catalog")
        if not known:
            servers = HEARING.servers()
            raise RatemillError(f"the topic {topic} could not be read within {timeout:g} s: check that {servers} runs")
        if not self._versions.history.versions():
            raise RatemillError(f"no catalog has been published to {topic}: `ratemill publish CATALOG` does it")

    def _run(self) -> None:
        try:
            topic = check_catalog_topic(self._settings)
            with plain_kafka_errors(f"reading the topic {topic}"), CatalogReader(self._settings) as reader:
                while not self._stopping.is_set():
                    self._look(reader)
                    self._stopping.wait(_SECONDS_BETWEEN_LOOKS)
        except RatemillError as failure:
            self._fail(failure)
        except BaseException as error:
            self._fail(RatemillError(f"following the published catalog broke ({type(error).__name__}: {error})"))
            raise

    def _fail(self, failure: RatemillError) -> None:
        self._failure = failure
        self._versions.fail(failure)
        self._first_look.set()

    def _look(self, reader: CatalogReader) -> None:
        moment = now()
        try:
            for _ in reader.read(self._stopping.is_set):
                self._take(reader.state)
        except KafkaException as error:
            self._bear(error, reader.topic)
            return
        if self._stopping.is_set():
            return
        self._refused_since = None
        if self._unclear is not None:
            # A version that was published, and compacted, during this look explains it once; the next look reads it.
            if self._unclear == self._unclear_before:
                raise damaged(reader.topic)
            self._unclear_before = self._unclear
            return
        if not self._first_look.is_set():
            self._begin()
        self._checked_at = moment
        self._versions.checked(moment)

    def _bear(self, error: KafkaException, topic: str) -> None:
        """Go on waiting, unless Kafka answers, and refuses, for longer than a broker needs to start."""
        cause = HEARING.refusal() or error.args[0]
        if cause.code() in PASSING:
            self._refused_since = None
            return
        self._refused_since = self._refused_since or time.monotonic()
        if time.monotonic() - self._refused_since > _SECONDS_OF_PATIENCE:
            raise kafka_fault(cause, f"reading the topic {topic}")

    def _begin(self) -> None:
        """The first look is over: what rates now, or soon will, is made ready."""
        self._versions.refresh()
        if self._versions.history.versions():
            self._versions.latest()
        self._first_look.set()

    def _take(self, state: PublishedState) -> None:
        """A `version` record has been read."""
        version, newest = state.version, self._versions.history.newest()
        if version is None:
            self._unclear = state.versions
            return
        known = newest is not None and version.published_at <= newest.published_at
        if known and not self._first_look.is_set():
            return
        self._unclear = None if state.is_whole() else state.versions
        if self._unclear is not None:
            return
        if newest is not None and not known:
            self._say_what_is_odd(version, newest)
        catalog = catalog_of(state.entries)
        self._versions.add(
            CatalogVersion(version.digest, version.effective_from, version.published_at, catalog),
            # An earlier version of Ratemill may have published it under a digest that this one would not give it.
            replace(compile_catalog(catalog), digest=version.digest),
        )

    def _say_what_is_odd(self, version: VersionRecord, newest: VersionStamp) -> None:
        if version.previous != newest.published_at:
            self._remark(
                f"catalogs were published before number {version.number} that this ledger never saw, for the topic no"
                f" longer holds them: until number {version.number} takes effect, the one before them goes on rating;"
                " give the topic a longer min.compaction.lag.ms than any flow is ever down"
            )
        if self._checked_at and version.effective_from <= self._checked_at + SURE_AHEAD:
            self._remark(
                f"catalog number {version.number} came after the moment at which it takes effect,"
                f" {moment_text(version.effective_from)}: records in between were rated by the one before; set the"
                " clocks right, or RATEMILL_CATALOG_LEAD_SECONDS higher"
            )
