"""A real Kafka broker of one node on loopback, for development and tests: `python -m ops.kafka.broker`.

Owns: its folder, ports, settings and process. Does not own: where its program comes from (`installation`), and dying
with whoever started it (`guard`). The rule: started again on the same folder it has every record and the same address,
however it was ended.
"""

import argparse
import fcntl
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from dataflows.errors import RatemillError
from ops.kafka.installation import find_jars, find_java, kafka_version
from ops.output import remark, say

_HERE = Path(__file__).resolve().parent
_HOST = "127.0.0.1"
_USUAL_PORT = 9092
# Below the ports that systems give to outgoing connections: a client that asks in vain while the broker is stopped must
# not be given the broker's own port.
_PORTS = range(20_000, 32_000)
_SECONDS_TO_START = 180
_SECONDS_TO_STOP = 30
_SECONDS_TO_ANSWER = 5
_SECONDS_BETWEEN_LOOKS = 0.02
# The second compiler only costs on small machines: what a broker does most is in the system and in intrinsics.
_JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
# Events of any time are kept: their age is that of what they tell, not of the record.
log.retention.ms=-1
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# The default is a quarter of this heap.
log.cleaner.dedupe.buffer.size=16777216
# A killed broker counts as alive for so long, and cannot come back before. One that gets no CPU for so long counts as
# dead.
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
"""


class Broker:
    """One broker; its folder is a temporary one, unless given, and then goes with it."""

    def __init__(self, folder: Path | None = None, port: int | None = None) -> None:
        self.is_temporary = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="ratemill-kafka-")) if folder is None else folder.resolve()
        self.port = free_port() if port is None else port
        self._controller_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"{_HOST}:{self.port}"

    @property
    def process_id(self) -> int:
        """The process that the broker's Java lives below."""
        assert self._process is not None, "never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the broker's process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker, on the data it has, and wait until it answers."""
        assert not self.running, "started twice"
        java, jars = find_java(), find_jars()
        if not is_free(self.port):
            raise RatemillError(f"port {self.port} of {_HOST} is taken by another program; choose another with --port")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as lock, (self.folder / "output.txt").open("wb") as output:
            self._prepare(java, jars)
            kept = str(self.folder) if self.is_temporary else "-"
            guard = [sys.executable, "-I", "-S", str(_HERE / "guard.py"), str(os.getpid()), kept]
            self._process = subprocess.Popen(
                [*guard, *self._java_command(java, jars), "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # The guard keeps the folder's lock until it has ended.
                pass_fds=[lock],
                # Ctrl-C in a terminal is for whoever started the broker.
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the broker as an operator would; it stays startable."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker by SIGKILL; it stays startable."""
        self._end(signal.SIGUSR1)

    def close(self) -> None:
        """End the broker for good; a temporary folder goes, another one is left in order."""
        if self.is_temporary:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.stop()

    def wait(self) -> None:
        """Return when the broker has ended by itself."""
        assert self._process is not None, "never started"
        self._process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, wish: signal.Signals) -> None:
        if self._process is None:
            return
        for attempt in (wish, signal.SIGUSR1):
            self._process.send_signal(attempt)
            try:
                self._process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                continue
            break
        self._process = None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RatemillError(f"another Kafka broker runs on the folder {self.folder}; end it first") from error
            yield lock.fileno()

    def _prepare(self, java: Path, jars: Path) -> None:
        """The settings, and a formatted place for the data if there is none; one half formatted never gets the name."""
        data = self.folder / "data"
        if not data.exists():
            aside = self.folder / "data-being-formatted"
            shutil.rmtree(aside, ignore_errors=True)
            self._write_properties(aside)
            # In hexadecimals: an identity in base64 may begin with "-", and Kafka takes that for an option.
            cluster = uuid.uuid4().hex
            tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(self._properties)]
            done = subprocess.run([*self._java_command(java, jars), *tool], capture_output=True, text=True)
            if done.returncode:
                raise RatemillError(f"Kafka could not format {aside}: {(done.stderr or done.stdout).strip()}")
            aside.rename(data)
        self._write_properties(data)

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _write_properties(self, data: Path) -> None:
        text = _PROPERTIES.format(host=_HOST, port=self.port, controller_port=self._controller_port, data=data)
        self._properties.write_text(text, encoding="utf-8")

    def _java_command(self, java: Path, jars: Path) -> list[str]:
        logging = [f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}", f"-Dkafka.logs.dir={self.folder}"]
        return [str(java), *_JAVA_OPTIONS, *logging, "-cp", str(jars / "*")]

    def _wait_until_it_answers(self) -> None:
        """Return when a client gets the address of this broker; RatemillError says why it never will."""
        assert self._process is not None
        deadline = time.monotonic() + _SECONDS_TO_START
        while not (_listens(self.port) and _answers(self.bootstrap)):
            if self._process.poll() is not None:
                raise RatemillError(f"the Kafka broker ended while it started: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RatemillError(f"the Kafka broker did not start in {_SECONDS_TO_START} s: {self._last_words()}")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _last_words(self) -> str:
        """The exception that the broker wrote last, else its last error, else its last line."""
        files = [self.folder / "output.txt", self.folder / "server.log"]
        lines = [line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines()]
        exceptions = [line for line in lines if re.match(r"(Caused by: )?[\w.$]+(Exception|Error): ", line)]
        errors = [line for line in lines if " ERROR " in line]
        return (exceptions or errors or lines or ["it wrote nothing"])[-1]


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    while True:
        port = random.choice(_PORTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback."""
    try:
        socket.create_server((_HOST, port)).close()
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(bootstrap: str) -> bool:
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return len(client.list_topics(timeout=_SECONDS_TO_ANSWER).brokers) == 1
    except KafkaException:
        return False


def main() -> int:
    """Run a broker until Ctrl-C or SIGTERM; the exit code is that of a clean end, unless Kafka ended by itself."""
    parser = argparse.ArgumentParser(prog="make kafka", description="A Kafka broker of one node on loopback.")
    parser.add_argument(
        "--port", type=int, help=f"the port for clients; else {_USUAL_PORT} if that is free, or another"
    )
    parser.add_argument("--folder", type=Path, help="where the data is kept; else in a temporary folder, not kept")
    given = parser.parse_args()
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        return _run(Broker(given.folder, given.port or (_USUAL_PORT if is_free(_USUAL_PORT) else None)))
    except KeyboardInterrupt:
        return 0
    except RatemillError as error:
        remark(f"{error}.")
        return 1


def _run(broker: Broker) -> int:
    remark(f"Starting Kafka {kafka_version()}; the first time it is fetched as well.")
    with broker:
        fate = "kept" if not broker.is_temporary else "removed at the end"
        say(f"Kafka {kafka_version()} listens on {broker.bootstrap}; its data is in {broker.folder} and is {fate}.")
        say(f"  export RATEMILL_KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")
        say("Ctrl-C ends it.")
        sys.stdout.flush()
        broker.wait()
    remark("Kafka ended by itself.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
