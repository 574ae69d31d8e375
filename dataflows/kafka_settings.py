"""Settings of librdkafka that a deployment passes through by name: which are taken, refused, and never shown.

The rule: what a name means is librdkafka's business, except names that decide about exactly-once, which are ours; and
the value of a secret leaves this process only to a child of it, and to Kafka.

>>> KafkaSettings({"sasl.username": "rating", "sasl.password": "hunter2"})
{'sasl.username': 'rating', 'sasl.password': '***'}
>>> named_setting("SSL_CA_LOCATION"), named_setting("LOG_LEVEL")
('ssl.ca.location', 'log_level')
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from confluent_kafka import KafkaException, Producer

MASK = "***"
_SECRET_PARTS = (
    "password",
    "passphrase",
    "secret",
    "key.pem",
    "token",
    "jaas",
    "oauthbearer.config",
    "oauthbearer.extensions",
)
_NAMES_WITH_UNDERSCORE = {"log.level": "log_level"}
_NO_SUCH_NAME = "ratemill.no.such.name"

# Names that a deployment has reason to set; a misspelt one is answered with the nearest of them.
_USUAL_NAMES = """
    bootstrap.servers client.id client.rack client.dns.lookup security.protocol debug log_level log.connection.close
    broker.address.family broker.address.ttl connections.max.idle.ms reconnect.backoff.ms reconnect.backoff.max.ms
    socket.timeout.ms socket.keepalive.enable socket.nagle.disable socket.connection.setup.timeout.ms
    socket.send.buffer.bytes socket.receive.buffer.bytes metadata.max.age.ms topic.metadata.refresh.interval.ms
    ssl.ca.location ssl.ca.pem ssl.certificate.location ssl.certificate.pem ssl.key.location ssl.key.pem
    ssl.key.password ssl.keystore.location ssl.keystore.password ssl.crl.location ssl.cipher.suites ssl.curves.list
    ssl.sigalgs.list ssl.providers ssl.endpoint.identification.algorithm enable.ssl.certificate.verification
    https.ca.location https.ca.pem sasl.mechanism sasl.mechanisms sasl.username sasl.password
    sasl.kerberos.service.name sasl.kerberos.principal sasl.kerberos.keytab sasl.kerberos.kinit.cmd
    sasl.kerberos.min.time.before.relogin sasl.oauthbearer.method sasl.oauthbearer.config sasl.oauthbearer.client.id
    sasl.oauthbearer.client.secret sasl.oauthbearer.scope sasl.oauthbearer.extensions
    sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.grant.type enable.sasl.oauthbearer.unsecure.jwt
    message.max.bytes receive.message.max.bytes fetch.wait.max.ms fetch.min.bytes fetch.max.bytes
    fetch.message.max.bytes max.partition.fetch.bytes queued.min.messages queued.max.messages.kbytes check.crcs
    session.timeout.ms max.poll.interval.ms linger.ms batch.size batch.num.messages compression.type
    compression.codec compression.level message.timeout.ms delivery.timeout.ms request.timeout.ms retry.backoff.ms
    queue.buffering.max.messages queue.buffering.max.kbytes transaction.timeout.ms partitioner enable.metrics.push
""".split()

_POSITION = "positions are kept with the running usage, so that nothing is rated twice"
_GROUP = "the setting `group` names the consumer group"
_LANES = "lanes read fixed partitions, no group deals them out"
_ORDER = "producers of ours lose, repeat and reorder nothing"
_CALLBACK = "it is no setting of a deployment"
_OURS = {
    "group.id": _GROUP,
    "group.instance.id": _LANES,
    "group.protocol": _LANES,
    "group.protocol.type": _LANES,
    "group.remote.assignor": _LANES,
    "partition.assignment.strategy": _LANES,
    "enable.auto.commit": _POSITION,
    "auto.commit.enable": _POSITION,
    "auto.commit.interval.ms": _POSITION,
    "enable.auto.offset.store": _POSITION,
    "offset.store.method": _POSITION,
    "offset.store.path": _POSITION,
    "auto.offset.reset": "a lost position must be told, never be skipped",
    "isolation.level": "only committed records may be rated",
    "enable.partition.eof": "progress of idle partitions depends on it",
    "allow.auto.create.topics": "`ratemill topics` makes the topics",
    "transactional.id": "it fences off a second relay",
    "enable.idempotence": _ORDER,
    "enable.gapless.guarantee": _ORDER,
    "acks": _ORDER,
    "request.required.acks": _ORDER,
    "max.in.flight": _ORDER,
    "max.in.flight.requests.per.connection": _ORDER,
    "retries": _ORDER,
    "message.send.max.retries": _ORDER,
    "delivery.report.only.error": "what was delivered is counted",
    "statistics.interval.ms": "metrics depend on it",
    "enabled_events": _CALLBACK,
    "logger": _CALLBACK,
    "interceptors": _CALLBACK,
    "opaque": _CALLBACK,
}


class KafkaSettings(dict[str, str]):
    """librdkafka's settings by name; shown without secrets."""

    def __repr__(self) -> str:
        return repr(masked(self))


def is_secret(name: str) -> bool:
    """Whether the value of this setting must never be shown."""
    return any(part in name for part in _SECRET_PARTS)


def masked(values: Mapping[str, str]) -> dict[str, str]:
    """The settings as they may be shown."""
    return {name: MASK if is_secret(name) and value else value for name, value in values.items()}


def without_secrets(text: str, values: Mapping[str, str]) -> str:
    """A text of others that may quote a secret, without it."""
    for name, value in values.items():
        if is_secret(name) and value:
            text = text.replace(value, MASK)
    return text


def named_setting(environment_name: str) -> str:
    """librdkafka's name of what an environment variable sets, RATEMILL_KAFKA_ taken off."""
    name = environment_name.lower().replace("_", ".")
    return _NAMES_WITH_UNDERSCORE.get(name, name)


def environment_name(name: str) -> str:
    """The environment variable that sets this one."""
    return "RATEMILL_KAFKA_" + name.replace(".", "_").upper()


def flat_settings(stated: Any) -> Any:
    """A table of a TOML file as librdkafka's names and texts: an unquoted dotted key makes tables in tables there.

    >>> flat_settings({"sasl": {"username": "rating"}, "socket.keepalive.enable": True})
    {'sasl.username': 'rating', 'socket.keepalive.enable': 'true'}
    """
    return dict(_flat(stated, "")) if isinstance(stated, Mapping) else stated


def _flat(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        match value:
            case Mapping():
                yield from _flat(value, f"{above}{name}.")
            case bool():
                yield above + name, str(value).lower()
            case int() | float():
                yield above + name, str(value)
            case _:
                yield above + name, value


def checked_settings(values: dict[str, str]) -> KafkaSettings:
    """The settings, if librdkafka knows and takes each of them and none is ours; ValueError names all that are not."""
    faults = [fault for name, value in values.items() if (fault := _fault(name, value))]
    if faults:
        raise ValueError("; ".join(faults))
    return KafkaSettings(values)


def _fault(name: str, value: str) -> str | None:
    if name in _OURS:
        return f"{name} is not passed on to Kafka: {_OURS[name]}"
    if is_secret(name) and value == MASK:
        return f"{name} is {MASK}, which is shown in place of a secret and is none"
    refused = _refusal(name, value)
    if refused is None:
        return None
    if refused.startswith("No such configuration property"):
        nearest = get_close_matches(name, _USUAL_NAMES, 1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]} ({environment_name(nearest[0])})?" if nearest else ""
        return f"Kafka's client library knows no setting {name}{hint}"
    if is_secret(name):
        return f"{name} has a value that Kafka's client library refuses"
    return f"{name} is refused by Kafka's client library: {refused}"


def _refusal(name: str, value: str) -> str | None:
    """What librdkafka has against a setting. Settings are read in order, and no client is made: the last is unknown."""
    try:
        Producer({name: value, _NO_SUCH_NAME: ""})
    except KafkaException as error:
        told = error.args[0].str()
        return None if _NO_SUCH_NAME in told else told
    except (TypeError, ValueError, AttributeError):
        # Names that the Python binding takes callables for, never texts.
        return "No such configuration property"
    raise AssertionError("a setting that nobody knows was taken")
