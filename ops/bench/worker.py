"""One measurement in a process of its own: `python -m ops.bench.worker NAME ARGUMENTS`, its result as JSON."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]


def measure(name: str, **arguments: Any) -> dict[str, Any]:
    """Runs one of `MEASUREMENTS` in a fresh process with one Polars thread and gives its result."""
    asked = [sys.executable, "-m", "ops.bench.worker", name, orjson.dumps(arguments, default=str).decode()]
    environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
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


# Imported one by one: a process has in memory only what its measurement needs.
MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "traffic": _traffic,
    "limit": _limit,
    "core": _core,
    "flow": _flow,
    "resume": _resume,
}

if __name__ == "__main__":
    print(orjson.dumps(MEASUREMENTS[sys.argv[1]](**orjson.loads(sys.argv[2]))).decode())
