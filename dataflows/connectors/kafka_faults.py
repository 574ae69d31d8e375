"""What Kafka's client says when it cannot go on, as one sentence for a person.

Owns: which of several errors tells the cause, and what to do about it. The rule: librdkafka goes on trying for ever and
tells a wrong password or certificate only beside the call that times out; what was told beside it comes before "timed
out". A sentence holds no secret.
"""

import re
import time
from collections.abc import Mapping

from confluent_kafka import KafkaError

from dataflows.errors import RatemillError
from dataflows.kafka_settings import KafkaSettings, without_secrets

_SECONDS_LATELY = 30

_CREDENTIALS = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_TLS = frozenset({KafkaError._SSL})
_SASL = frozenset({KafkaError.UNSUPPORTED_SASL_MECHANISM, KafkaError.ILLEGAL_SASL_STATE})
_CONNECTION = frozenset({KafkaError._TRANSPORT, KafkaError._RESOLVE})
_SILENCE = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError._DESTROY,
    }
)
_NO_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
_FORBIDDEN = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_MOST_TELLING_FIRST = (_CREDENTIALS, _SASL, _TLS, _CONNECTION)

# Where in its client librdkafka was when it failed: for its developers.
_BROKER = re.compile(r"^\S*/(bootstrap|\d+): ")
_STATE = re.compile(r" \(after \d+ms in state \w+([^()]|\(s\))*\)|, \d+ identical error\(s\) suppressed")


class Hearing:
    """What the clients of this process were told beside their calls lately, and how they are connected."""

    def __init__(self) -> None:
        self._kafka: Mapping[str, str] = KafkaSettings()
        self._told: dict[int, tuple[float, KafkaError]] = {}

    def connect(self, kafka: Mapping[str, str]) -> None:
        """Clients are made with these settings from now on; what was told by another Kafka is forgotten."""
        if kafka != self._kafka:
            self._told.clear()
        self._kafka = kafka

    def hear(self, error: KafkaError) -> None:
        """Take what a client was told: librdkafka's `error_cb`."""
        self._told[error.code()] = (time.monotonic(), error)

    def forget(self) -> None:
        """Kafka has answered: what was told before is over."""
        self._told.clear()

    def most_telling(self, since: float | None = None) -> KafkaError | None:
        """The error that names the cause best, of those told lately, or since a moment of the monotonic clock."""
        since = time.monotonic() - _SECONDS_LATELY if since is None else since
        lately = {code: error for code, (when, error) in list(self._told.items()) if when >= since}
        return next((lately[code] for codes in _MOST_TELLING_FIRST for code in codes if code in lately), None)

    def refusal(self, since: float | None = None) -> KafkaError | None:
        """An error that no waiting mends, told lately or since a moment of the monotonic clock."""
        told = self.most_telling(since)
        return told if told is not None and told.code() in _CREDENTIALS | _SASL | _TLS else None

    def fatal(self) -> KafkaError | None:
        """The error that ended a producer for good, which its own calls do not tell."""
        return next((error for _, error in list(self._told.values()) if error.fatal()), None)

    def servers(self) -> str:
        """Where Kafka is looked for."""
        return self._kafka.get("bootstrap.servers") or self._kafka.get("metadata.broker.list") or "no address"

    def reason(self, error: KafkaError) -> str:
        """What an error says, without secrets and without what only librdkafka's developers need."""
        text = _STATE.sub("", _BROKER.sub("", error.str().strip()))
        return without_secrets(text, self._kafka).rstrip(". ")


HEARING = Hearing()


def kafka_fault(error: KafkaError, what: str) -> RatemillError:
    """The sentence for an error while doing `what`, such as "reading the topic metering.events"."""
    return RatemillError(_sentence(cause_of(error), what))


def cause_of(error: KafkaError) -> KafkaError:
    """What was told beside a call that found nobody to answer, or that came too late; else the error itself."""
    if error.code() == KafkaError._FATAL:
        return HEARING.fatal() or error
    return (HEARING.most_telling() or error) if error.code() in _SILENCE else error


def _sentence(error: KafkaError, what: str) -> str:
    code, servers, reason = error.code(), HEARING.servers(), HEARING.reason(error)
    if code in _CREDENTIALS | _SASL:
        advice = "check RATEMILL_KAFKA_SASL_MECHANISM, RATEMILL_KAFKA_SASL_USERNAME and RATEMILL_KAFKA_SASL_PASSWORD"
        return f"Kafka at {servers} refuses the credentials ({what}: {reason}): {advice}"
    if code in _TLS:
        advice = "check RATEMILL_KAFKA_SSL_CA_LOCATION, RATEMILL_KAFKA_SECURITY_PROTOCOL and the broker's certificate"
        return f"no TLS connection to Kafka at {servers} ({what}: {reason}): {advice}"
    if code in _CONNECTION | _SILENCE:
        # A broker that expects TLS hangs up on who does not, without a word.
        if code in _SILENCE or "SSL" in reason:
            advice = (
                "check RATEMILL_KAFKA_BOOTSTRAP_SERVERS, that the broker runs,"
                " and that RATEMILL_KAFKA_SECURITY_PROTOCOL is what it expects"
            )
        else:
            advice = "check RATEMILL_KAFKA_BOOTSTRAP_SERVERS and that the broker runs"
        return f"cannot reach Kafka at {servers} ({what}: {reason}): {advice}"
    if code in _NO_TOPIC:
        return f"Kafka at {servers} has no such topic or partition ({what}): make it with `ratemill topics`"
    if code in _FORBIDDEN:
        return f"Kafka at {servers} forbids {what} ({reason}): grant this user the rights listed in docs/kafka.md"
    if code in _TOO_LARGE:
        return f"Kafka at {servers} takes no record so large ({what}): raise the topic's max.message.bytes"
    if code == KafkaError.CONCURRENT_TRANSACTIONS:
        advice = "if it stays so for longer than one may take, 10 minutes unless set, end it as docs/kafka.md says"
        return f"Kafka at {servers} holds a transaction open ({what}: {reason}): {advice}"
    if code == KafkaError._INVALID_ARG:
        return f"Kafka's client cannot start ({what}: {reason}): check the RATEMILL_KAFKA_ settings"
    return f"Kafka at {servers} failed ({what}: {reason})"
