"""The topics of the contract on a real cluster: what each must be, what is there, making what is missing.

Owns: cleanup policies, partitions and sizes of our topics. Does not own: how long records are kept, which is the
cluster's policy. The rule: a topic that is there is never changed; what is wrong with it is said.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigEntry, ConfigResource, NewTopic, ResourceType, TopicDescription

from dataflows.connectors.kafka_client import SECONDS_TO_ANSWER, admin_client, answer, plain_kafka_errors, topic_name
from dataflows.errors import RatemillError
from dataflows.settings import Settings

_CLEANUP, _RETENTION, _LARGEST = "cleanup.policy", "retention.ms", "max.message.bytes"
_SEGMENT, _COMPACTION_LAG = "segment.bytes", "min.compaction.lag.ms"
_FOR_EVER = -1
_SECONDS_BETWEEN_LOOKS = 0.1
_MILLISECONDS_PER_HOUR = 3_600_000
_LARGEST_EVENT = 64 << 10
_OVERHEAD = 4 << 10

Cleanup = Literal["delete", "compact"]
State = Literal["missing", "made", "there"]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What a topic must be; `partitions` is None where the settings say how many."""

    name: str
    cleanup: Cleanup
    partitions: int | None = None
    holds_records: bool = False
    segment_bytes: int | None = None
    compaction_lag_ms: int | None = None


PLANS = (
    TopicPlan("metering.events", "delete", holds_records=True),
    # One partition: what was published together is read in its order. A flow that is down for less than a week finds
    # every version that was published meanwhile.
    TopicPlan("catalog", "compact", partitions=1, compaction_lag_ms=7 * 24 * _MILLISECONDS_PER_HOUR),
    TopicPlan("rated.line-items", "delete"),
    TopicPlan("notifications", "delete"),
    TopicPlan("quota.verdicts", "compact"),
    TopicPlan("invoices", "delete"),
    TopicPlan("metering.rejected", "delete", holds_records=True),
    # One partition, read whole when a relay starts: small segments, so that little of it is not yet compacted.
    TopicPlan("relay.positions", "compact", partitions=1, segment_bytes=16 << 20),
)


@dataclass(frozen=True, slots=True)
class TopicFound:
    """What a topic is on the cluster."""

    partitions: int
    replication: int
    cleanup: str
    retention_ms: int
    largest_bytes: int
    compaction_lag_ms: int


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic: what became of it, what it is, what is wrong with it and what is odd."""

    topic: str
    state: State
    found: TopicFound | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_topics(settings: Settings, *, make: bool) -> list[TopicReport]:
    """A report on each topic, after making those that are missing if `make`; RatemillError if Kafka does not answer."""
    admin = admin_client(settings)
    names = {plan.name: topic_name(settings, plan.name) for plan in PLANS}
    found = _look(admin, names.values())
    missing = [plan for plan in PLANS if names[plan.name] not in found]
    if make and missing:
        for plan in missing:
            _make(admin, settings, plan)
        found |= _look_until_there(admin, [names[plan.name] for plan in missing])
    made = {plan.name for plan in missing} if make else set()
    return [
        _report(settings, plan, found.get(names[plan.name]), "made" if plan.name in made else "there") for plan in PLANS
    ]


def _report(settings: Settings, plan: TopicPlan, found: TopicFound | None, state: State) -> TopicReport:
    topic = topic_name(settings, plan.name)
    if found is None:
        return TopicReport(topic, "missing", None, ("is missing; make it with `ratemill topics`",), ())
    return TopicReport(topic, state, found, tuple(_problems(plan, found)), tuple(_warnings(settings, plan, found)))


def _problems(plan: TopicPlan, found: TopicFound) -> Iterator[str]:
    """What makes a topic unusable, as the rest of a sentence that begins with its name."""
    if found.cleanup != plan.cleanup:
        loss = "records would be deleted that readers need" if plan.cleanup == "compact" else "events would be dropped"
        yield f"has {_CLEANUP}={found.cleanup} and needs {plan.cleanup}: {loss}"
    if plan.partitions is not None and found.partitions != plan.partitions:
        yield f"has {found.partitions} partitions and needs {plan.partitions}, to keep the order of what is published"
    if plan.holds_records and found.largest_bytes < _LARGEST_EVENT + _OVERHEAD:
        yield f"has {_LARGEST}={found.largest_bytes} and needs {_LARGEST_EVENT + _OVERHEAD}: an event may have 64 KiB"


def _warnings(settings: Settings, plan: TopicPlan, found: TopicFound) -> Iterator[str]:
    """What is odd about a topic, as the rest of a sentence that begins with its name."""
    if plan.partitions is None and found.partitions < settings.topic_partitions:
        yield f"has {found.partitions} partitions, fewer than RATEMILL_TOPIC_PARTITIONS={settings.topic_partitions}"
    if found.replication < settings.topic_replication:
        yield f"has {found.replication} copies, fewer than RATEMILL_TOPIC_REPLICATION={settings.topic_replication}"
    lateness = (settings.lateness_hours or 0) * _MILLISECONDS_PER_HOUR
    if plan.name == PLANS[0].name and found.retention_ms != _FOR_EVER and found.retention_ms < lateness:
        hours = found.retention_ms // _MILLISECONDS_PER_HOUR
        yield f"keeps records for {hours} hours, less than RATEMILL_LATENESS_HOURS={settings.lateness_hours}"
    if plan.compaction_lag_ms is not None and found.compaction_lag_ms < plan.compaction_lag_ms:
        hours = found.compaction_lag_ms // _MILLISECONDS_PER_HOUR
        yield f"has {_COMPACTION_LAG}={found.compaction_lag_ms}: a flow that is down for over {hours} h misses versions"


def _make(admin: AdminClient, settings: Settings, plan: TopicPlan) -> None:
    topic = topic_name(settings, plan.name)
    partitions = plan.partitions or settings.topic_partitions
    stated = {_CLEANUP: plan.cleanup, _SEGMENT: plan.segment_bytes, _COMPACTION_LAG: plan.compaction_lag_ms}
    config = {name: str(value) for name, value in stated.items() if value is not None}
    wanted = NewTopic(topic, partitions, settings.topic_replication, config=config)
    with plain_kafka_errors(f"making the topic {topic}"):
        try:
            answer(admin, admin.create_topics([wanted])[topic])
        except KafkaException as error:
            if error.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR:
                raise RatemillError(
                    f"the cluster has too few brokers for {settings.topic_replication} copies of the topic {topic}:"
                    " lower RATEMILL_TOPIC_REPLICATION"
                ) from None
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _look_until_there(admin: AdminClient, topics: Sequence[str]) -> dict[str, TopicFound]:
    """What has just been made: brokers hear of a new topic a moment after it is there."""
    end = time.monotonic() + SECONDS_TO_ANSWER
    while len(found := _look(admin, topics)) < len(topics) and time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return found


def _look(admin: AdminClient, topics: Iterable[str]) -> dict[str, TopicFound]:
    """The topics that there are."""
    descriptions = _describe(admin, list(topics))
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in descriptions]
    with plain_kafka_errors("reading the settings of topics"):
        asked = admin.describe_configs(resources) if resources else {}
        configs = {resource.name: answer(admin, future) for resource, future in asked.items()}
    return {topic: _found(described, configs[topic]) for topic, described in descriptions.items()}


def _describe(admin: AdminClient, topics: Sequence[str]) -> dict[str, TopicDescription]:
    described = {}
    with plain_kafka_errors("describing topics"):
        for topic, future in admin.describe_topics(TopicCollection(list(topics))).items():
            try:
                described[topic] = answer(admin, future)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
    return described


def _found(described: TopicDescription, config: dict[str, ConfigEntry]) -> TopicFound:
    return TopicFound(
        partitions=len(described.partitions),
        replication=min(len(partition.replicas) for partition in described.partitions),
        cleanup=str(config[_CLEANUP].value),
        retention_ms=int(config[_RETENTION].value or _FOR_EVER),
        largest_bytes=int(config[_LARGEST].value or 0),
        compaction_lag_ms=int(config[_COMPACTION_LAG].value or 0),
    )
