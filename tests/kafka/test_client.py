"""Errors of Kafka's client are one sentence that says what to do, in time, without secrets."""

import contextlib
import time

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from dataflows.connectors.kafka_client import (
    admin_client,
    answer,
    check_reachable,
    client_settings,
    describe_topic,
    plain_kafka_errors,
    topic_name,
)
from dataflows.errors import RatemillError
from dataflows.settings import Settings
from ops.producing import send_files
from ops.topics import check_topics
from tests.kafka.secured import ANOTHER_AUTHORITY, AUTHORITY, PASSWORDS, SecuredBroker
from tests.ops.ratemill import ratemill

SECRET = "hunter2 and more"
DEAD = "127.0.0.1:9"


def sentence(act, *arguments):
    with pytest.raises(RatemillError) as raised:
        act(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_secret_that_the_library_quotes_is_taken_out():
    values = {"bootstrap.servers": DEAD, "sasl.password": SECRET}
    client_settings(Settings(kafka=values), {})
    with pytest.raises(RatemillError) as raised, plain_kafka_errors("connecting"):
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, f'Invalid value "{SECRET}"'))
    assert str(raised.value) == (
        'Kafka\'s client cannot start (connecting: Invalid value "***"): check the RATEMILL_KAFKA_ settings'
    )


def test_no_address_is_told():
    assert "set RATEMILL_KAFKA_BOOTSTRAP_SERVERS" in sentence(check_reachable, Settings())


def test_a_file_that_is_not_there_is_told(tmp_path):
    missing = str(tmp_path / "ca.pem")
    told = sentence(check_reachable, Settings(kafka={"bootstrap.servers": DEAD, "ssl.ca.location": missing}))
    assert told == (f"cannot use {missing}, which RATEMILL_KAFKA_SSL_CA_LOCATION names: there is no such file")


@pytest.mark.parametrize(
    ("servers", "reason"), [(DEAD, "Connection refused"), ("nowhere.invalid:9092", "Failed to resolve")]
)
def test_a_wrong_address_is_told_in_time(servers, reason):
    began = time.monotonic()
    told = sentence(check_reachable, Settings(kafka={"bootstrap.servers": servers}))
    assert told.startswith(f"cannot reach Kafka at {servers} (connecting: ")
    assert reason in told
    assert told.endswith("check RATEMILL_KAFKA_BOOTSTRAP_SERVERS and that the broker runs")
    assert "after" not in told
    assert time.monotonic() - began < 15


def test_the_library_writes_nothing_to_standard_error_by_itself():
    ran = ratemill("topics", "--check", RATEMILL_KAFKA_BOOTSTRAP_SERVERS=DEAD)
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert ran.err.startswith(f"Cannot reach Kafka at {DEAD}")
    asked_for = ratemill("topics", "--check", RATEMILL_KAFKA_BOOTSTRAP_SERVERS=DEAD, RATEMILL_KAFKA_DEBUG="broker")
    assert "CONNECT" in asked_for.err


def test_a_topic_is_described(broker, topic_prefix):
    settings = Settings(kafka={"bootstrap.servers": broker.bootstrap}, topic_prefix=topic_prefix)
    topic = topic_name(settings, "metering.events")
    assert sentence(describe_topic, settings, topic) == (
        f"Kafka at {broker.bootstrap} has no topic {topic}:"
        " make it with `ratemill topics`, or check RATEMILL_TOPIC_PREFIX"
    )
    first = made_anew(settings, topic, 3)
    assert first.partitions == 3
    second = made_anew(settings, topic, 2)
    assert second.partitions == 2
    assert second.topic_id != first.topic_id


def made_anew(settings, topic, partitions):
    admin = admin_client(settings)
    try:
        answer(admin, admin.delete_topics([topic])[topic])
    except KafkaException as error:
        assert error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    answer(admin, admin.create_topics([NewTopic(topic, partitions, 1)])[topic])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # A broker may tell of the deleted one for another moment.
        with contextlib.suppress(RatemillError):
            facts = describe_topic(settings, topic)
            if facts.partitions == partitions:
                return facts
        time.sleep(0.1)
    raise AssertionError("the topic did not come")


@pytest.fixture(scope="module")
def secured(broker):
    """A broker with a password; depends on the other one, which says how to install what both need."""
    with SecuredBroker() as secured:
        yield secured


def to_secured(secured, **changes):
    stated = {
        "bootstrap.servers": secured.secured,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "rating",
        "sasl.password": PASSWORDS["rating"],
        "ssl.ca.location": str(AUTHORITY),
    }
    return Settings(kafka=stated | {name.replace("_", "."): value for name, value in changes.items()})


def test_the_right_password_over_tls_is_let_in(secured):
    check_reachable(to_secured(secured))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sasl_password": SECRET}, "refuses the credentials (connecting: "),
        ({"sasl_mechanism": "SCRAM-SHA-256"}, "refuses the credentials (connecting: "),
        ({"ssl_ca_location": str(ANOTHER_AUTHORITY)}, "no TLS connection to Kafka at "),
        ({"security_protocol": "PLAINTEXT"}, "RATEMILL_KAFKA_SECURITY_PROTOCOL is what it expects"),
    ],
)
def test_a_refused_connection_names_its_cause(secured, changes, told):
    said = sentence(check_reachable, to_secured(secured, **changes))
    assert told in said
    assert secured.secured in said
    assert SECRET not in said
    assert PASSWORDS["rating"] not in said


def test_a_refusal_is_not_waited_for(secured):
    began = time.monotonic()
    sentence(check_reachable, to_secured(secured, sasl_password=SECRET))
    assert time.monotonic() - began < 5


def test_a_user_without_rights_is_told_so(secured):
    guest = to_secured(secured, sasl_username="guest", sasl_password=PASSWORDS["guest"])
    told = sentence(describe_topic, guest, "metering.events")
    assert "forbids describing the topic metering.events" in told
    assert "docs/kafka.md" in told


def test_a_producer_without_rights_is_told_so(secured, tmp_path):
    everybody = Settings(kafka={"bootstrap.servers": secured.bootstrap})
    check_topics(everybody, make=True)
    admin = admin_client(everybody)
    allowed = AclBinding(
        *(ResourceType.TOPIC, "*", ResourcePatternType.LITERAL, "User:guest", "*"),
        *(AclOperation.DESCRIBE, AclPermissionType.ALLOW),
    )
    answer(admin, admin.create_acls([allowed])[allowed])
    (tmp_path / "events.ndjson").write_text('{"id": "1"}\n' * 10)
    guest = to_secured(secured, sasl_username="guest", sasl_password=PASSWORDS["guest"])
    told = sentence(send_files, [tmp_path / "events.ndjson"], guest, None, lambda progress: None)
    assert "forbids sending to the topic metering.events" in told


def test_what_was_told_before_is_forgotten_with_other_settings(secured):
    sentence(check_reachable, to_secured(secured, sasl_password=SECRET))
    assert "Connection refused" in sentence(check_reachable, Settings(kafka={"bootstrap.servers": DEAD}))
