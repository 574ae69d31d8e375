"""The broker of development and tests: transactions, its data after a kill, its end with whoever started it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dataflows.errors import RatemillError
from ops.kafka.broker import Broker, free_port, is_free
from ops.kafka.installation import find_jars, kafka_version
from tests.tidy.source import ROOT

QUIET = {"log_level": 0}
SECONDS = 30

CHILD = """
from ops.kafka.broker import Broker
with Broker() as broker:
    print(broker.port, broker.folder, flush=True)
    broker.wait()
"""


def make_topic(broker: Broker, name: str, **config: str) -> None:
    client = AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET})
    client.create_topics([NewTopic(name, 1, 1, config=config)])[name].result(SECONDS)


def send(broker: Broker, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all", **QUIET})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(SECONDS) == 0


def values_in(broker: Broker, topic: str, isolation: str = "read_committed") -> list[str]:
    """What a consumer reads from the beginning to the end that it is told."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": topic,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            **QUIET,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(SECONDS)) is not None and not message.error():
        found.append(message.value().decode())
    assert message is not None, "no end was reached"
    consumer.close()
    return found


def within_seconds(holds, seconds: float = SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def module(*arguments: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_reader_of_the_committed_never_sees_an_aborted_transaction(broker, topic_prefix):
    topic = f"{topic_prefix}out"
    make_topic(broker, topic)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": topic, **QUIET})
    producer.init_transactions(SECONDS)
    for value, end in [("a", producer.commit_transaction), ("b", producer.abort_transaction)]:
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(SECONDS)
        end(SECONDS)
    assert values_in(broker, topic) == ["a"]
    assert values_in(broker, topic, "read_uncommitted") == ["a", "b"]


def test_no_topic_comes_into_being_by_itself(broker, topic_prefix):
    client = AdminClient({"bootstrap.servers": broker.bootstrap, "allow.auto.create.topics": True, **QUIET})
    client.list_topics(f"{topic_prefix}unknown", timeout=SECONDS)
    assert f"{topic_prefix}unknown" not in client.list_topics(timeout=SECONDS).topics


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_it_comes_back_at_the_same_address_with_its_data(broker, topic_prefix, way):
    topic, address = f"{topic_prefix}kept", broker.bootstrap
    make_topic(broker, topic)
    send(broker, topic, "a", "b")
    getattr(broker, way)()
    try:
        assert not broker.running
        assert is_free(broker.port)
    finally:
        broker.start()
    send(broker, topic, "c")
    assert (broker.bootstrap, values_in(broker, topic)) == (address, ["a", "b", "c"])


@pytest.mark.slow
def test_a_compacted_topic_is_compacted(broker, topic_prefix):
    topic = f"{topic_prefix}compacted"
    make_topic(broker, topic, **{"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"})
    producer = Producer({"bootstrap.servers": broker.bootstrap, **QUIET})
    for value in "abc":
        producer.produce(topic, value, key="k")
        assert producer.flush(SECONDS) == 0
        time.sleep(0.1)
    # The newest segment is never compacted: the last value stands in it.
    assert within_seconds(lambda: values_in(broker, topic) == ["c"] or values_in(broker, topic) == ["b", "c"], 90)


@pytest.mark.slow
def test_it_ends_with_whoever_started_it(broker):
    child = module("-c", CHILD)
    assert child.stdout is not None
    port, folder = child.stdout.readline().split()
    assert Path(folder, "server.properties").exists()
    child.kill()
    child.communicate()
    assert within_seconds(lambda: is_free(int(port)) and not Path(folder).exists())


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_listens_and_ends_cleanly(broker, tmp_path, ending):
    port = free_port()
    child = module("-m", "ops.kafka.broker", "--port", str(port), "--folder", str(tmp_path / "kept"))
    assert child.stdout is not None
    shown = [child.stdout.readline() for _ in range(3)]
    assert shown[0].startswith(f"Kafka {kafka_version()} listens on 127.0.0.1:{port}; its data is in {tmp_path}")
    assert shown[1] == f"  export RATEMILL_KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:{port}\n"
    with pytest.raises(RatemillError, match="another Kafka broker runs on the folder"):
        Broker(tmp_path / "kept").start()
    child.send_signal(ending)
    _, remarks = child.communicate(timeout=SECONDS)
    assert (child.returncode, "Traceback" in remarks) == (0, False)
    assert (tmp_path / "kept/data/meta.properties").exists()
    assert is_free(port)


def test_a_port_that_is_taken_is_told(broker, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RatemillError, match=f"port {port} of 127.0.0.1 is taken"):
            Broker(tmp_path, port).start()


def test_a_start_that_fails_is_explained(broker, tmp_path):
    own = Broker(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(RatemillError, match=r"ended while it started: .*meta\.properties"):
        own.start()
    assert not own.running


def test_the_jars_are_fetched_once(broker):
    jars = find_jars()
    assert (jars / f"kafka_2.13-{kafka_version()}.jar").exists()
    before = jars.stat().st_mtime_ns
    assert find_jars().stat().st_mtime_ns == before


def bare_checkout(folder: Path) -> Path:
    """A copy of the checkout where nothing was fetched, with one test that needs the broker and one that does not."""
    for name in ("schemas", "rating", "dataflows", "ops"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests/kafka").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/__init__.py", "tests/conftest.py", "tests/kafka/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests/kafka/test_one.py").write_text(
        "def test_with(broker):\n    assert broker.running\n\n\ndef test_without():\n    assert True\n"
    )
    return folder


def run_tests(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Pytest on a machine without Java, Maven and a way to fetch them."""
    nowhere = {"PATH": str(folder), "HOME": str(folder), "HTTPS_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/kafka/test_one.py"]
    return subprocess.run(command, cwd=folder, env={**nowhere, **environment}, capture_output=True, text=True)


@pytest.mark.slow
def test_without_a_broker_the_rest_passes_and_the_end_says_what_did_not_run(tmp_path):
    done = run_tests(bare_checkout(tmp_path))
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout
    end = done.stdout[done.stdout.index("not run: no Kafka broker") :].splitlines()
    assert "tests/kafka/test_one.py: 1 test" in end
    assert any("could not be fetched" in line and "`make kafka`" in line for line in end)


@pytest.mark.slow
def test_without_a_broker_continuous_integration_fails(tmp_path):
    done = run_tests(bare_checkout(tmp_path), CI="true")
    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
