"""Where a relay may begin: at the position that Kafka holds, if that is a position in this very ledger.

Owns: comparing Kafka's position with the ledger, and what is said when they do not fit. The rule: a relay that is not
sure where it stands sends nothing; a person says how to go on, and only where Kafka knows no position.
"""

from collections.abc import Sequence
from enum import StrEnum

from confluent_kafka import KafkaException

from dataflows.connectors.kafka_faults import HEARING, kafka_fault
from dataflows.connectors.patience import Patience, is_refusal
from dataflows.connectors.relay_positions import Position, read_positions
from dataflows.errors import UnmendableError
from dataflows.ledger.commit_rows import CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.relay_note import FILE, RelayNote
from dataflows.settings import Settings

_SECONDS_BEFORE_AGAIN = 0.5
_LOOKS_FOR_ANOTHER = 10


class RelayStart(StrEnum):
    """From where to relay a ledger of which Kafka knows no position."""

    BEGINNING = "beginning"
    NOTED = "noted"
    NOW = "now"


def first_positions(
    settings: Settings,
    folder: LedgerFolder,
    note: RelayNote,
    readers: Sequence[CommitReader],
    start: RelayStart | None,
    patience: Patience,
) -> list[Position]:
    """The position of each writer to begin at; UnmendableError if that cannot be told without a person."""
    found = _positions_in_kafka(settings, note.ledger, len(readers), patience)
    if len(found) == len(readers):
        for reader in readers:
            reader.look()
        for writer, reader in enumerate(readers):
            _check(folder, writer, reader, found[writer])
        return [found[writer] for writer in range(len(readers))]
    places = _stated(folder, note, readers, start)
    return [_position_at(reader, place) for reader, place in zip(readers, places, strict=True)]


def check_alone(settings: Settings, folder: LedgerFolder, note: RelayNote, name: str, patience: Patience) -> None:
    """UnmendableError if another relay has taken over, which Kafka lets us know only as "fenced off".

    Kafka says the same of a transaction that took too long. Another relay writes its name first of all.
    """
    for _ in range(_LOOKS_FOR_ANOTHER):
        patience.wait("starting again", pause=_SECONDS_BEFORE_AGAIN)
        found = _positions_in_kafka(settings, note.ledger, len(folder.all_writers()), patience)
        if any(position.relay != name for position in found.values()):
            raise UnmendableError(
                f"another relay of the ledger {folder.root} has started, and this one stops: one is enough, and nothing"
                " was sent twice"
            )


def _positions_in_kafka(settings: Settings, ledger: str, writers: int, patience: Patience) -> dict[int, Position]:
    while True:
        try:
            found = read_positions(settings, ledger, writers, patience)
        except KafkaException as error:
            if is_refusal(error.args[0]):
                raise kafka_fault(error.args[0], "reading the relay's position") from error
            patience.wait("reading the relay's position", error.args[0], pause=_SECONDS_BEFORE_AGAIN)
        else:
            patience.answered()
            return found


def _check(folder: LedgerFolder, writer: int, reader: CommitReader, position: Position) -> None:
    """Refuse a position in another history than this ledger's."""
    if position.next > reader.published:
        fault = f"has published {reader.published:,} commits of writer {writer}, and {position.next:,} of them are sent"
    elif position.next and reader.commit(position.next - 1).digest != position.digest:
        fault = f"has another commit {position.next - 1:,} of writer {writer} than the one that was sent"
    else:
        return
    raise UnmendableError(
        f"the ledger {folder.root} {fault}: it was restored from an older backup, or is a copy of the one that is"
        f" relayed; put the right one back, or remove {folder.root / FILE}, which makes it a ledger of its own for the"
        f" relay, and start with --from {RelayStart.NOW} or --from {RelayStart.BEGINNING}"
    )


def _stated(
    folder: LedgerFolder, note: RelayNote, readers: Sequence[CommitReader], start: RelayStart | None
) -> list[int]:
    """The next commit of each writer where Kafka knows none: as a person says; else, never relayed, from the first."""
    published = [reader.published for reader in readers]
    match start:
        case RelayStart.BEGINNING:
            return [0] * len(readers)
        case RelayStart.NOW:
            return published
        case RelayStart.NOTED if note.relayed is not None:
            return [min(place, end) for place, end in zip(note.relayed, published, strict=True)]
        case _ if note.relayed is None:
            return [0] * len(readers)
    raise UnmendableError(
        f"Kafka at {HEARING.servers()} does not know how far the ledger {folder.root} has been relayed: it has"
        f" forgotten it, or is another Kafka than before; go on with --from {RelayStart.NOTED}, which may send the last"
        f" seconds before the end again, with --from {RelayStart.NOW}, which sends what is published from now on, or"
        f" with --from {RelayStart.BEGINNING}"
    )


def _position_at(reader: CommitReader, place: int) -> Position:
    return Position(place, reader.commit(place - 1).digest if place else "")
