"""Waiting for a Kafka that is away: until it answers or somebody says stop, with one remark for each time it is away.

The rule: waiting is no failure, and silence is none for a while; what Kafka refuses is not waited for.
"""

import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from dataflows.connectors.kafka_faults import kafka_fault

_SECONDS_OF_SILENCE = 5.0
_SECONDS_TO_FINISH = 5.0
# What waiting does not mend.
_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError._INVALID_ARG,
    }
)


def is_refusal(error: KafkaError) -> bool:
    """Whether Kafka will say the same again, however long one waits."""
    return error.code() in _REFUSALS


class StoppedError(Exception):
    """Told to stop while waiting."""


class Patience:
    """What is waited for; `trouble` is a sentence as long as Kafka is away, None while it answers."""

    def __init__(self, stop: threading.Event, remark: Callable[[str], None]) -> None:
        self._stop = stop
        self._remark = remark
        self._waiting_since: float | None = None
        self._told_to_stop: float | None = None
        self.trouble: str | None = None

    def check(self) -> None:
        """StoppedError if told to stop."""
        if self._stop.is_set():
            raise StoppedError

    def wait(self, what: str, error: KafkaError | None = None, *, pause: float = 0, finishing: bool = False) -> None:
        """One more wait while doing `what`; StoppedError if told to stop, a while later if this is `finishing` work."""
        now = time.monotonic()
        if finishing:
            time.sleep(pause)
        if self._stop.wait(0 if finishing else pause):
            self._told_to_stop = self._told_to_stop or now
            if not finishing or now > self._told_to_stop + _SECONDS_TO_FINISH:
                raise StoppedError
        self._waiting_since = self._waiting_since or now
        if self.trouble is None and now > self._waiting_since + _SECONDS_OF_SILENCE:
            silence = KafkaError(KafkaError._TIMED_OUT, f"nothing came for {_SECONDS_OF_SILENCE:.0f} s")
            self.trouble = str(kafka_fault(error or silence, what))
            self._remark(f"{self.trouble}; waiting, and going on by itself")

    def answered(self) -> None:
        """Kafka has done what it was asked for: the next wait is a new one."""
        self._waiting_since = None
        if self.trouble is not None:
            self.trouble = None
            self._remark("Kafka answers again")
