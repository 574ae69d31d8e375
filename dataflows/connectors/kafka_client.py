"""How every client of Kafka is made, which topic is meant, and how Kafka's errors reach a person.

Owns: the settings that all clients share, names of topics, and questions to the cluster that are asked once, with a
limit of time. Does not own: what is read or written. The rule: what a client needs to be exact is set by its maker and
wins over the deployment's settings; nothing of librdkafka's own log reaches standard error, unless `debug` is set.

>>> topic_name(Settings(topic_prefix="eu."), "metering.events")
'eu.metering.events'
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from dataflows.connectors.kafka_faults import HEARING, kafka_fault
from dataflows.errors import RatemillError
from dataflows.kafka_settings import environment_name
from dataflows.settings import Settings

SECONDS_TO_ANSWER = 10
_SECONDS_PER_LOOK = 0.05
_LOGGER = logging.getLogger("ratemill.kafka")
_DEFAULTS = {"client.id": "ratemill", "reconnect.backoff.max.ms": "2000"}
_FILES = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "https.ca.location",
    "sasl.kerberos.keytab",
)
_LOOKED_FOR = "probe"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a topic is to the cluster; the identity changes when the topic is deleted and made anew."""

    topic_id: str
    partitions: int


def client_settings(settings: Settings, own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for a client: the deployment's, and those of its maker, which win. RatemillError without an address."""
    kafka = settings.kafka
    if not (kafka.get("bootstrap.servers") or kafka.get("metadata.broker.list")):
        raise RatemillError(
            "no Kafka is named: set RATEMILL_KAFKA_BOOTSTRAP_SERVERS, to kafka-1:9092,kafka-2:9092 for example"
        )
    _check_files(kafka)
    _send_log("debug" in kafka)
    HEARING.connect(kafka)
    return {**_DEFAULTS, "logger": _LOGGER, "error_cb": HEARING.hear, **kafka, **own}


def topic_name(settings: Settings, name: str) -> str:
    """The full name of one of our topics."""
    return settings.topic_prefix + name


@contextmanager
def plain_kafka_errors(what: str) -> Iterator[None]:
    """Turns errors of Kafka into a sentence; `what` is being done, such as "reading the topic metering.events"."""
    try:
        yield
    except KafkaException as error:
        raise kafka_fault(error.args[0], what) from None


def admin_client(settings: Settings) -> AdminClient:
    """A client for questions to the cluster and for its topics."""
    with plain_kafka_errors("connecting"):
        return AdminClient(client_settings(settings, {}))


def answer(admin: AdminClient, future: "Future[Answer]", seconds: float = SECONDS_TO_ANSWER) -> Answer:
    """What the cluster answers, or KafkaException: after `seconds`, or as soon as it refuses the connection."""
    began = time.monotonic()
    while wait([future], _SECONDS_PER_LOOK).not_done:
        admin.poll(0)
        if refusal := HEARING.refusal(since=began):
            raise KafkaException(refusal)
        if time.monotonic() > began + seconds:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer within {seconds} s"))
    result = future.result()
    HEARING.forget()
    return result


def check_reachable(settings: Settings) -> None:
    """RatemillError, with what to do, unless the cluster answers this deployment."""
    admin = admin_client(settings)
    with plain_kafka_errors("connecting"):
        answer(admin, admin.describe_cluster())


def describe_topic(settings: Settings, topic: str) -> TopicFacts:
    """What the cluster knows of a topic, by its full name; NoTopicError if there is none."""
    return topic_facts(admin_client(settings), topic)


def topic_facts(admin: AdminClient, topic: str, seconds: float = SECONDS_TO_ANSWER) -> TopicFacts:
    """The same, asked by a client that is there."""
    with plain_kafka_errors(f"describing the topic {topic}"):
        try:
            told = answer(admin, admin.describe_topics(TopicCollection([topic]))[topic], seconds)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise no_topic(topic) from None
            raise
    return TopicFacts(str(told.topic_id), len(told.partitions))


class NoTopicError(RatemillError):
    """A topic is not there."""


def no_topic(topic: str) -> NoTopicError:
    """The sentence for a topic that is not there."""
    advice = "make it with `ratemill topics`, or check RATEMILL_TOPIC_PREFIX"
    return NoTopicError(f"Kafka at {HEARING.servers()} has no topic {topic}: {advice}")


def _check_files(kafka: Mapping[str, str]) -> None:
    for name in _FILES:
        place = kafka.get(name)
        if place and place != _LOOKED_FOR and not os.access(place, os.R_OK):
            why = "it may not be read" if Path(place).exists() else "there is no such file"
            raise RatemillError(f"cannot use {place}, which {environment_name(name)} names: {why}")


def _send_log(to_standard_error: bool) -> None:
    """Without a handler, Python would write warnings to standard error."""
    if not _LOGGER.handlers:
        _LOGGER.addHandler(logging.StreamHandler() if to_standard_error else logging.NullHandler())
        _LOGGER.setLevel(logging.DEBUG if to_standard_error else logging.INFO)
