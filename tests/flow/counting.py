"""A bare Bytewax flow that counts items per key, with nothing of ours in it: the engine as it comes.

Usage: python -m tests.flow.counting STORE COUNTS_FILE SECONDS_IDLE ITEMS
The source stays idle for the given time after it starts, as one does that connects; then it emits ITEMS numbers, each
to one of 64 keys whose states are large, so that writing their snapshots takes long. At its end it writes the counts.
"""

import json
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax._bytewax import cluster_main
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig

KEYS = 64
BALLAST = b"x" * 100_000
BATCH = 200
EPOCH = timedelta(milliseconds=5)


class Numbers(FixedPartitionedSource):
    def __init__(self, idle: float, items: int) -> None:
        self.idle, self.items = idle, items

    def list_parts(self):
        return ["numbers"]

    def build_part(self, step_id, for_part, resume_state):
        return NumbersPartition(self, resume_state or 0)


class NumbersPartition(StatefulSourcePartition):
    def __init__(self, source: Numbers, position: int) -> None:
        self.source, self.position = source, position
        self.connected = time.monotonic() + source.idle

    def next_batch(self):
        if time.monotonic() < self.connected:
            return []
        if self.position >= self.source.items:
            raise StopIteration
        batch = range(self.position, min(self.position + BATCH, self.source.items))
        self.position = batch.stop
        return [(f"key-{number % KEYS}", 1) for number in batch]

    def snapshot(self):
        return self.position


class Count(StatefulBatchLogic):
    def __init__(self, state) -> None:
        self.count = state[0] if state else 0

    def on_batch(self, values):
        self.count += len(values)
        return [self.count], self.RETAIN

    def snapshot(self):
        return self.count, BALLAST


class Counts(FixedPartitionedSink):
    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self):
        return ["counts"]

    def build_part(self, step_id, for_part, resume_state):
        return CountsPartition(self.path, resume_state)


class CountsPartition(StatefulSinkPartition):
    def __init__(self, path: Path, state) -> None:
        self.path, self.counts = path, Counter(state or {})

    def write_batch(self, values):
        self.counts.update({key: count - self.counts[key] for key, count in values})

    def snapshot(self):
        return dict(self.counts)

    def close(self):
        self.path.write_text(json.dumps(self.counts))


def main() -> None:
    store, counts, idle, items = sys.argv[1:]
    flow = Dataflow("counting")
    numbers = op.input("numbers", flow, Numbers(float(idle), int(items)))
    counted = op.stateful_batch("count", numbers, lambda state: Count(state))
    named = op.map("name", counted, lambda keyed: ("counts", keyed))
    op.output("counts", named, Counts(Path(counts)))
    cluster_main(flow, [], 0, epoch_interval=EPOCH, recovery_config=RecoveryConfig(store))


if __name__ == "__main__":
    main()
