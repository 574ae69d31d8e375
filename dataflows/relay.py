"""The relay: what the ledger has published goes to Kafka's topics, commit by commit, every message exactly once.

    position ──► next commit of each writer ──► its rows as messages ──► one transaction, with the position behind it

Owns: that order, and which rows go to which topic. Does not own: where a relay may begin (`relay_start`), which rows a
commit has (`ledger.commit_rows`), what a message says (`steps.messages`), transactions (`connectors.relay_producer`).
The rule: messages and the position behind them become visible together or not at all.
"""

import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import polars as pl

from dataflows.connectors.kafka_client import check_reachable, describe_topic, plain_kafka_errors, topic_name
from dataflows.connectors.patience import Patience, StoppedError
from dataflows.connectors.relay_positions import PARTITION, Position, check_positions_topic, position_record
from dataflows.connectors.relay_producer import ProducerEndedError, RelayProducer, largest_message
from dataflows.errors import RatemillError, UnmendableError
from dataflows.ledger.commit_rows import Commit, CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.manifest import LONGEST_WAIT, now
from dataflows.ledger.relay_note import load_note, store_note
from dataflows.relay_start import RelayStart, check_alone, first_positions
from dataflows.settings import Settings
from dataflows.steps import invoice_messages
from dataflows.steps.messages import (
    LINE_ITEM_COLUMNS,
    NOTIFICATION_COLUMNS,
    QUOTA_VERDICT_COLUMNS,
    REJECTED_COLUMNS,
    Message,
    line_item_messages,
    notification_messages,
    quota_verdict_messages,
    rejected_messages,
)

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_BETWEEN_NOTES = 5.0
_SECONDS_UNSAVED = 60.0


@dataclass(frozen=True, slots=True)
class Route:
    """Rows of a ledger table that become messages of a topic.

    `messages` makes them of rows with these `columns`, none larger than so many bytes; the column `counted_by` of
    `commits` says how many a commit has.
    """

    table: str
    topic: str
    counted_by: str
    columns: tuple[str, ...]
    messages: Callable[[pl.DataFrame, int], Iterator[Message]]


ROUTES = (
    Route("line_items", "rated.line-items", "line_items", LINE_ITEM_COLUMNS, line_item_messages),
    Route("notifications", "notifications", "notifications", NOTIFICATION_COLUMNS, notification_messages),
    Route("quota_verdicts", "quota.verdicts", "quota_verdicts", QUOTA_VERDICT_COLUMNS, quota_verdict_messages),
    Route("invoices", "invoices", "invoices", invoice_messages.COLUMNS, invoice_messages.invoice_messages),
    Route("events", "metering.rejected", "rejected", REJECTED_COLUMNS, rejected_messages),
)


@dataclass(slots=True)
class RelayProgress:
    """What a relay has done since it was started, and where it is.

    `messages` counts by topic, without the prefix; `positions` is the next commit of each writer to be relayed,
    `published` the next one to be published; `last_error` is a sentence while Kafka is away, None while it answers.
    """

    commits: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    positions: list[int] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    last_error: str | None = None


def to_standard_error(sentence: str) -> None:
    """A remark for a person."""
    print(sentence, file=sys.stderr, flush=True)


def run_relay(
    settings: Settings,
    folder: LedgerFolder,
    stop: threading.Event,
    until_caught_up: bool = False,
    *,
    start: RelayStart | None = None,
    progress: RelayProgress | None = None,
    remark: Callable[[str], None] = to_standard_error,
) -> RelayProgress:
    """Relay a ledger until `stop` is set, or until all that is published has been sent.

    `start` says from where, should Kafka know no position of this ledger. RatemillError says in one sentence why the
    relay cannot go on; the same call then goes on where the last transaction ended.
    """
    progress = progress or RelayProgress()
    topics = _checked_topics(settings)
    relay = _Relay(settings, folder, stop, topics, progress, remark)
    try:
        relay.run(until_caught_up, start)
    except StoppedError:
        pass
    finally:
        relay.note()
    return progress


def _checked_topics(settings: Settings) -> dict[str, str]:
    """The full names of the topics, all of which there are."""
    check_reachable(settings)
    topics = {route.topic: topic_name(settings, route.topic) for route in ROUTES}
    for topic in topics.values():
        describe_topic(settings, topic)
    return topics


class _Relay:
    """One run of the relay, with one producer after another."""

    def __init__(
        self,
        settings: Settings,
        folder: LedgerFolder,
        stop: threading.Event,
        topics: dict[str, str],
        progress: RelayProgress,
        remark: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._stop = stop
        self._topics = topics
        self._positions_topic = check_positions_topic(settings)
        self._largest = largest_message(settings, [*topics.values(), self._positions_topic])
        self._progress = progress
        self._remark = remark
        self._patience = Patience(stop, self._say)
        self._note = load_note(folder.root)
        self._noted_at = time.monotonic()
        self._note_failed = False
        # Tells this run from another relay of the same ledger.
        self._name = secrets.token_hex(8)
        self._readers = [CommitReader(folder, writer) for writer in folder.all_writers()]
        self._positions: list[Position] = []
        self._unsaved_since: float | None = None

    def run(self, until_caught_up: bool, start: RelayStart | None) -> None:
        """Relay; a producer that has ended is followed by a new one, which goes on from the position in Kafka."""
        while True:
            try:
                with plain_kafka_errors("relaying"):
                    self._relay(until_caught_up, start)
                return
            except ProducerEndedError as ended:
                if ended.fenced:
                    check_alone(self._settings, self._folder, self._note, self._name, self._patience)
                self._patience.wait("relaying", ended.error)

    def note(self) -> None:
        """Note in the ledger how far the relay has come, should Kafka forget it; a full disk does not end a relay."""
        self._noted_at = time.monotonic()
        relayed = [position.next for position in self._positions]
        if not relayed or relayed == self._note.relayed:
            return
        note = msgspec.structs.replace(self._note, relayed=relayed)
        try:
            store_note(self._folder.root, note)
        except RatemillError as error:
            if not self._note_failed:
                self._remark(str(error))
            self._note_failed = True
        else:
            self._note, self._note_failed = note, False

    def _relay(self, until_caught_up: bool, start: RelayStart | None) -> None:
        transactional_id = f"ratemill-relay-{self._note.ledger}"
        producer = RelayProducer(self._settings, transactional_id, self._largest, self._patience)
        positions = first_positions(self._settings, self._folder, self._note, self._readers, start, self._patience)
        # Before anything else, so that a relay that this one has fenced off learns why.
        self._save(producer, positions)
        self.note()
        while True:
            came = [self._relay_next(producer, writer) for writer in self._folder.all_writers()]
            if time.monotonic() > self._noted_at + _SECONDS_BETWEEN_NOTES:
                self.note()
            if not any(came):
                if self._is_to_be_saved(until_caught_up):
                    self._save(producer, self._positions)
                if until_caught_up:
                    return
                producer.serve()
                self._stop.wait(_SECONDS_BETWEEN_LOOKS)
            self._patience.check()

    def _save(self, producer: RelayProducer, positions: list[Position]) -> None:
        """Write these positions, and that they are this run's."""
        own = [msgspec.structs.replace(position, relay=self._name) for position in positions]
        records = [position_record(self._note.ledger, writer, position) for writer, position in enumerate(own)]
        producer.transaction(lambda: producer.send(self._positions_topic, records, PARTITION))
        self._positions = own
        self._unsaved_since = None
        self._progress.positions = [position.next for position in own]
        self._progress.published = [reader.published for reader in self._readers]

    def _is_to_be_saved(self, at_the_end: bool) -> bool:
        """Whether commits without messages, for which alone there is no transaction, are many or the last ones."""
        since = self._unsaved_since
        return since is not None and (at_the_end or time.monotonic() > since + _SECONDS_UNSAVED)

    def _relay_next(self, producer: RelayProducer, writer: int) -> bool:
        """Relay the next commit of a writer, if there is one."""
        reader, place = self._readers[writer], self._positions[writer].next
        if reader.look():
            self._progress.published[writer] = reader.published
        if place >= reader.published:
            return False
        commit = reader.commit(place)
        behind = Position(place + 1, commit.digest, self._name)
        if any(commit.counts[route.counted_by] for route in ROUTES):
            self._wait_until_visible(commit)
            self._progress.messages += self._send(producer, commit, behind)
        elif self._unsaved_since is None:
            self._unsaved_since = time.monotonic()
        self._positions[writer] = behind
        self._progress.positions[writer] = behind.next
        self._progress.commits += 1
        return True

    def _wait_until_visible(self, commit: Commit) -> None:
        """A commit is published a moment before readers of the ledger see it; nobody shall hear of it before."""
        ahead = min(commit.visible_from - now(), LONGEST_WAIT)
        if ahead > 0:
            self._stop.wait(ahead / 1_000_000)

    def _send(self, producer: RelayProducer, commit: Commit, behind: Position) -> Counter[str]:
        """One transaction: the messages of a commit, and the position behind it."""
        sent: Counter[str] = Counter()

        def send_all() -> None:
            sent.clear()
            for route in ROUTES:
                sent[route.topic] += self._send_rows(producer, commit, route)
            record = position_record(self._note.ledger, commit.writer, behind)
            producer.send(self._positions_topic, [record], PARTITION)

        producer.transaction(send_all)
        return sent

    def _send_rows(self, producer: RelayProducer, commit: Commit, route: Route) -> int:
        expected = commit.counts[route.counted_by]
        try:
            frames = self._rows(commit, route) if expected else ()
            sent = sum(
                producer.send(self._topics[route.topic], route.messages(frame, self._largest)) for frame in frames
            )
        except invoice_messages.MisplacedLinesError as error:
            raise self._damage(commit, str(error)) from error
        if sent != expected:
            raise self._damage(commit, f"it says {route.counted_by} = {expected}, its rows are {sent}")
        return sent

    def _rows(self, commit: Commit, route: Route) -> Iterator[pl.DataFrame]:
        reader = self._readers[commit.writer]
        rows = reader.rows(commit, route.table, route.columns)
        if route.table != "invoices":
            return rows
        return invoice_messages.with_lines(rows, reader.rows(commit, "invoice_lines", invoice_messages.LINE_COLUMNS))

    def _damage(self, commit: Commit, what: str) -> UnmendableError:
        place = f"commit {commit.sequence} of writer {commit.writer}"
        return UnmendableError(
            f"the ledger {self._folder.root} is damaged at {place}: {what}; restore it from a backup"
        )

    def _say(self, sentence: str) -> None:
        self._progress.last_error = self._patience.trouble
        self._remark(sentence)
