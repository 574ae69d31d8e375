"""Two processes against one, where decoding is most of the work: large records with many elements.

The topic is filled before, and opened at once when the flow runs (`close_gate`): the time begins there, and ends when a
reader of the ledger has the last record. Half a second between commits keeps the end short.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ops.bench.kafka_command import running
from ops.bench.kafka_cpu import cpu_seconds
from ops.bench.kafka_topic import close_gate, fill, make_topics, records_of, settings_for

_EPOCH_SECONDS = 0.5
_ELEMENTS = 40
_FILLERS = 4_096
_SEED = 20261121
_SECONDS_TO_END = 600


def measure_processes(
    bootstrap: str, broker: int, prefix: str, path: str, subscriptions: int, processes: int, ledger: str
) -> dict[str, Any]:
    """The widened events of a file through so many processes; CPU times are microseconds per event."""
    settings = settings_for(
        bootstrap, prefix, processes=processes, epoch_seconds=_EPOCH_SECONDS, start_seconds=_SECONDS_TO_END
    )
    make_topics(settings, subscriptions)
    open_gate = close_gate(settings)
    fillers = wide_fillers(_FILLERS)
    events = fill(settings, records_of(Path(path), fillers))
    with running(settings, Path(ledger)) as flow:
        begun, cpu, of_broker = perf_counter(), flow.cpu(), cpu_seconds(broker)
        open_gate()
        flow.wait_until_received(events, _SECONDS_TO_END)
        seconds = perf_counter() - begun
        cpu, of_broker = flow.cpu() - cpu, cpu_seconds(broker) - of_broker
        assert flow.received() == events, f"{flow.received()} of {events} records are published"
    return {
        "processes": processes,
        "events": events,
        "bytes": Path(path).stat().st_size // events + len(fillers[0]),
        "elements": _ELEMENTS,
        "seconds": seconds,
        "per_second": events / seconds,
        "cpu": 1e6 * cpu / events,
        "broker_cpu": 1e6 * of_broker / events,
        "cores": (cpu + of_broker) / seconds,
    }


def wide_fillers(number: int) -> list[bytes]:
    """Elements that no meter reads, to go behind those of an event: numbers and texts, about 1,400 bytes in all."""
    random = np.random.default_rng(_SEED)
    figures = random.integers(10**8, 10**9, (number, _ELEMENTS))
    return [b"".join(_element(place, figure) for place, figure in enumerate(row)) for row in figures.tolist()]


def _element(place: int, figure: int) -> bytes:
    value = f"{figure}.{figure % 1000:03d}" if place % 2 else f'"{figure:x}-{figure}"'
    return f',"element_{place:02d}":{value}'.encode()
