"""One measurement in a process of its own: `python -m ops.bench.worker NAME ARGUMENTS`, its result as JSON."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]


def measure(name: str, *, polars_threads: int | None = 1, **arguments: Any) -> dict[str, Any]:
    """Runs one of `MEASUREMENTS` in a fresh process and gives its result; Polars has a thread per core for None."""
    asked = [sys.executable, "-m", "ops.bench.worker", name, orjson.dumps(arguments, default=str).decode()]
    environment = os.environ if polars_threads is None else {**os.environ, "POLARS_MAX_THREADS": str(polars_threads)}
    done = subprocess.run(asked, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return result


def _traffic(folder: str, **scenario: int) -> dict[str, Any]:
    from ops.bench.scenario import Scenario, traffic_file

    return {"path": str(traffic_file(Scenario(**scenario), Path(folder)))}


def _limit(path: str, decoder: str) -> dict[str, Any]:
    from ops.bench.limit import measure_limit

    return measure_limit(Path(path), decoder)


def _core(path: str, **arguments: Any) -> dict[str, Any]:
    from ops.bench.core import measure_core

    return measure_core(Path(path), **arguments)


def _flow(**arguments: Any) -> dict[str, Any]:
    from ops.bench.flow import measure_flow

    return measure_flow(**arguments)


def _resume(**arguments: Any) -> dict[str, Any]:
    from ops.bench.flow import measure_resume

    return measure_resume(**arguments)


def _kafka_topic(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_topic import make_full_topic

    return make_full_topic(**arguments)


def _kafka_limit(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_limit import measure_kafka_limit

    return measure_kafka_limit(**arguments)


def _kafka_flow(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_flow import measure_kafka_flow

    return measure_kafka_flow(**arguments)


def _kafka_processes(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_processes import measure_processes

    return measure_processes(**arguments)


def _kafka_paced(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_pace import send_paced

    return send_paced(**arguments)


def _kafka_latency(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_latency import measure_latency

    return measure_latency(**arguments)


def _kafka_idle(**arguments: Any) -> dict[str, Any]:
    from ops.bench.kafka_idle import measure_idle

    return measure_idle(**arguments)


# Imported one by one: a process has in memory only what its measurement needs.
def _settle_ledger(**arguments: Any) -> dict[str, Any]:
    from ops.bench.settlement import prepare

    return prepare(**arguments)


def _settle_sum(ledger: str) -> dict[str, Any]:
    from ops.bench.settlement import measure_sum

    return measure_sum(ledger)


def _settle(**arguments: Any) -> dict[str, Any]:
    from ops.bench.settlement import measure_settlement

    return measure_settlement(**arguments)


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "traffic": _traffic,
    "limit": _limit,
    "core": _core,
    "flow": _flow,
    "resume": _resume,
    "kafka_topic": _kafka_topic,
    "kafka_limit": _kafka_limit,
    "kafka_flow": _kafka_flow,
    "kafka_processes": _kafka_processes,
    "kafka_paced": _kafka_paced,
    "kafka_latency": _kafka_latency,
    "kafka_idle": _kafka_idle,
    "settle_ledger": _settle_ledger,
    "settle_sum": _settle_sum,
    "settle": _settle,
}

if __name__ == "__main__":
    print(orjson.dumps(MEASUREMENTS[sys.argv[1]](**orjson.loads(sys.argv[2]))).decode())
