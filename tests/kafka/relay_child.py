"""A relay in a process of its own, which can be told to end or to pause itself at a named point.

Usage: python -m tests.kafka.relay_child SETTINGS_JSON LEDGER FOLLOW|ONCE POINT CALL SIGNAL
POINT is a name from POINTS or "-"; at the call of that number the process sends itself the signal of that number.
"""

import itertools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from confluent_kafka import KafkaException, Producer

import dataflows.relay
from dataflows.connectors import relay_producer
from dataflows.connectors.relay_producer import RelayProducer
from dataflows.errors import RatemillError
from dataflows.ledger.folder import open_folder
from dataflows.settings import Settings
from ops.signals import stop_on_signals


class WatchedProducer(Producer):
    """A producer whose calls can be counted."""


# Name: owner, attribute, whether the call happens before the signal.
POINTS: dict[str, tuple[object, str, bool]] = {
    "before earlier transactions are ended": (WatchedProducer, "init_transactions", False),
    "after earlier transactions were ended": (WatchedProducer, "init_transactions", True),
    "before a transaction": (WatchedProducer, "begin_transaction", False),
    "before anything is sent": (WatchedProducer, "begin_transaction", True),
    "after some rows were sent": (RelayProducer, "send", True),
    "before a transaction is committed": (WatchedProducer, "commit_transaction", False),
    "while a transaction is committed": (WatchedProducer, "commit_transaction", False),
    "after a transaction was committed": (WatchedProducer, "commit_transaction", True),
    "before the place is noted": (dataflows.relay, "store_note", False),
    "after the place was noted": (dataflows.relay, "store_note", True),
}
COMMITTING = "while a transaction is committed"


def signal_at(point: str, call: int, number: int) -> None:
    """Arrange the signal at the call of that number."""
    owner, name, after = POINTS[point]
    original: Callable[..., object] = getattr(owner, name)
    calls = itertools.count(1)

    def counting(*arguments: object, **named: object) -> object:
        # A call that has to be made again, as Kafka took its time, has not come to its end.
        meant = not after and next(calls) == call
        if meant and point == COMMITTING:
            ask_for_commit(*arguments)
        if meant:
            os.kill(os.getpid(), number)
        result = original(*arguments, **named)
        if after and next(calls) == call:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, counting)


def ask_for_commit(producer: Producer, *_: object) -> None:
    """Send the wish to commit, and do not wait for the answer."""
    producer.flush()
    with suppress(KafkaException):
        Producer.commit_transaction(producer, 0.001)


def main() -> int:
    settings_json, ledger, mode, point, call, number = sys.argv[1:]
    relay_producer.Producer = WatchedProducer
    if point != "-":
        signal_at(point, int(call), int(number))
    settings = Settings.model_validate_json(settings_json)
    stop = stop_on_signals()
    try:
        folder = open_folder(Path(ledger), settings.key_groups, settings.writers)
        dataflows.relay.run_relay(settings, folder, stop, mode == "ONCE")
    except RatemillError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
