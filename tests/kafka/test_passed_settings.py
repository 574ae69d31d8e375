"""Settings of Kafka's client are passed through by name, those that are ours refused, and secrets never shown."""

import json
import re

import pytest

from dataflows import kafka_settings
from dataflows.connectors.kafka_client import client_settings, topic_name
from dataflows.errors import RatemillError
from dataflows.settings import Settings, load_settings
from tests.ops.ratemill import event, ratemill, write_world

SECRET = "hunter2 and more"
SECRETS = {
    "sasl.username": "rating",
    "sasl.password": SECRET,
    "ssl.key.password": SECRET,
    "ssl.key.pem": SECRET,
    "ssl.keystore.password": SECRET,
    "sasl.oauthbearer.client.secret": SECRET,
    "sasl.oauthbearer.config": f"principal={SECRET}",
    "sasl.oauthbearer.assertion.private.key.passphrase": SECRET,
}
DEAD = "127.0.0.1:9"


def refusal(**environment):
    with pytest.raises(RatemillError) as raised:
        load_settings({f"RATEMILL_{name}": value for name, value in environment.items()})
    return str(raised.value)


def test_settings_come_from_the_environment_and_from_a_table_of_the_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text(
        'writers = 3\n[kafka]\n"bootstrap.servers" = "file:9092"\nsasl.username = "rating"\n'
        "sasl.password = 'of the file'\nsocket.keepalive.enable = true\nsocket.timeout.ms = 7000\n"
    )
    settings = load_settings(
        {
            "RATEMILL_SETTINGS": str(file),
            "RATEMILL_KAFKA_BOOTSTRAP_SERVERS": "environment:9092",
            "RATEMILL_KAFKA_SSL_CA_LOCATION": "/etc/ca.pem",
            "RATEMILL_KAFKA_LOG_LEVEL": "3",
        }
    )
    assert dict(settings.kafka) == {
        "bootstrap.servers": "environment:9092",
        "sasl.username": "rating",
        "sasl.password": "of the file",
        "socket.keepalive.enable": "true",
        "socket.timeout.ms": "7000",
        "ssl.ca.location": "/etc/ca.pem",
        "log_level": "3",
    }
    assert settings.writers == 3


def test_what_a_maker_of_a_client_sets_wins():
    settings = Settings(kafka={"bootstrap.servers": "a:1", "client.id": "theirs", "linger.ms": "9"})
    made = client_settings(settings, {"linger.ms": 5, "enable.idempotence": True})
    assert made["bootstrap.servers"] == "a:1"
    assert made["client.id"] == "theirs"
    assert made["linger.ms"] == 5
    assert made["enable.idempotence"] is True
    assert topic_name(Settings(topic_prefix="eu."), "catalog") == "eu.catalog"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "RATEMILL_KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_SASL_PASSWRD", "RATEMILL_KAFKA_SASL_PASSWORD"),
        ("KAFKA_SSL_CA_LOCATON", "RATEMILL_KAFKA_SSL_CA_LOCATION"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    told = refusal(**{name: SECRET})
    assert f"did you mean {kafka_settings.named_setting(nearest.removeprefix('RATEMILL_KAFKA_'))} ({nearest})?" in told
    assert SECRET not in told


def test_every_name_that_may_be_suggested_is_known_to_the_library():
    assert [name for name in kafka_settings._USUAL_NAMES if kafka_settings._fault(name, "no such value")] != []
    unknown = [
        name
        for name in kafka_settings._USUAL_NAMES
        if "knows no setting" in (kafka_settings._fault(name, "no such value") or "")
    ]
    assert unknown == []


@pytest.mark.parametrize("name", sorted(kafka_settings._OURS))
def test_what_decides_about_exactly_once_is_ours(name):
    with pytest.raises(ValueError, match=re.escape(f"{name} is not passed on to Kafka: ")):
        kafka_settings.checked_settings({name: "1"})


def test_all_wrong_names_are_told_at_once_and_values_that_the_library_refuses():
    told = refusal(KAFKA_GROUP_ID="g", KAFKA_ERROR_CB="print", KAFKA_SECURITY_PROTOCOL="TLS", TOPIC_PREFIX="a b")
    assert "group.id is not passed on" in told
    assert "knows no setting error.cb" in told
    assert 'Invalid value "TLS" for configuration property "security.protocol"' in told
    assert "topic_prefix: " in told


def test_a_secret_is_shown_nowhere():
    settings = Settings(kafka=SECRETS)
    shown = [
        repr(settings),
        str(settings),
        repr(settings.kafka),
        f"{settings.kafka}",
        str(settings.model_dump()),
        str(settings.model_dump(mode="json")),
        settings.model_dump_json(),
        repr(settings.model_copy(update={"writers": 4})),
    ]
    assert [text for text in shown if SECRET in text] == []
    assert all("***" in text and "rating" in text for text in shown)


def test_a_secret_is_handed_on_and_its_mask_is_not_taken_for_it():
    settings = Settings(kafka=SECRETS)
    assert Settings.model_validate_json(settings.to_json()) == settings
    assert dict(Settings.model_validate_json(settings.to_json()).kafka) == SECRETS
    with pytest.raises(ValueError, match="is shown in place of a secret"):
        Settings.model_validate_json(settings.model_dump_json())


def test_the_commands_show_no_secret(tmp_path):
    stated = {kafka_settings.environment_name(name): value for name, value in SECRETS.items()}
    for arguments in (["settings"], ["settings", "--json"]):
        ran = ratemill(*arguments, **stated)
        assert ran.code == 0, ran.err
        assert SECRET not in ran.out + ran.err
        assert "***" in ran.out
        assert "RATEMILL_KAFKA_SASL_PASSWORD" in ran.out or "sasl.password" in ran.out
    wrong = ratemill("settings", "--debug", RATEMILL_WRITERS=SECRET, **stated)
    assert wrong.code == 1
    assert "Traceback" in wrong.err
    assert SECRET not in wrong.out + wrong.err
    connection = {"RATEMILL_KAFKA_BOOTSTRAP_SERVERS": DEAD, "RATEMILL_KAFKA_SECURITY_PROTOCOL": "SSL"}
    refused = ratemill("topics", "--debug", **connection, **stated)
    assert refused.code == 1
    assert "ssl.key.pem failed" in refused.err
    assert SECRET not in refused.out + refused.err


def test_processes_get_the_secrets(tmp_path):
    """A process refuses a masked secret, so that its work proves what it got."""
    catalog, events, ledger = write_world(tmp_path, [event("e1"), event("e2")])
    ran = ratemill(
        *("rate", "--catalog", catalog, "--events", events, "--ledger", ledger, "--json"),
        RATEMILL_PROCESSES="2",
        RATEMILL_KAFKA_SASL_PASSWORD=SECRET,
    )
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verdicts"]["rated"] == 2
