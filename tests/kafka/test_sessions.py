"""The Kafka session of the README is typed, on a real broker."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from dataflows.ledger.published import read_table
from tests.kafka.flows import ROOT, wait_until_received
from tests.ops.test_docs import blocks

README = (ROOT / "README.md").read_text()


def test_the_kafka_session_of_the_readme(broker, tmp_path):
    written, *_ = blocks(README, "bash")
    files = written.partition("ratemill check")[0]
    *commands, flow = blocks(README, "sh")[0].strip().splitlines()
    assert flow.startswith("ratemill run rating --ledger kafka-ledger")
    environment = _environment(tmp_path)
    script = "set -euo pipefail\n" + files + "\n".join(commands).replace("localhost:9092", broker.bootstrap)
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=240)
    environment["RATEMILL_KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
    process = subprocess.Popen(
        ["bash", "-c", f"exec {flow}"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until_received(tmp_path / "kafka-ledger", 4, process)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    verdicts = read_table(tmp_path / "kafka-ledger", "events").sort("partition", "offset")["verdict"].to_list()
    assert verdicts == ["rated", "rated", "rated", "duplicate"]
    assert str(read_table(tmp_path / "kafka-ledger", "line_items")["amount"].sum()).startswith("0.25")


def _environment(folder: Path) -> dict[str, str]:
    """`ratemill` on the path; names of topics that no other test has"""
    (folder / "bin").mkdir()
    command = folder / "bin/ratemill"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ops.cli "$@"\n')
    command.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "RATEMILL_TOPIC_PREFIX": f"readme{uuid.uuid4().hex[:8]}.",
        "RATEMILL_METRICS_PORT": "0",
    }
