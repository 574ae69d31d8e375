"""A process of the rating flow that dies at named points: what `dataflows.process` is, and what a test breaks in it.

TESTS_DEATHS is a file with a JSON line [point, call] for each death; TESTS_DIED gets the numbers of those that were
died. The rule: each is died once, in their turn, by whichever process comes to its point first; when all are through,
nothing is broken any more.
"""

import json
import os
from pathlib import Path

import dataflows.ledger.compaction
from dataflows import process
from dataflows.connectors import kafka_source
from dataflows.connectors.kafka_reader import TopicReader
from dataflows.connectors.kafka_source import ConsumerPartition
from tests.flow.child import POINTS as POINTS_OF_FILES
from tests.flow.child import Point, die_at

DEATHS, DIED = "TESTS_DEATHS", "TESTS_DIED"
_READING: dict[str, Point] = {
    "before a batch is read": (ConsumerPartition, "next_batch", False),
    "after a poll": (TopicReader, "read", True),
    "after a batch was read": (kafka_source, "admit", True),
    "before the place is kept": (ConsumerPartition, "snapshot", False),
    "after the place was kept": (ConsumerPartition, "snapshot", True),
    "after the group was told": (TopicReader, "_tell_group", True),
    "while a merge is written": (dataflows.ledger.compaction, "TableFile", True),
    "between a merge and its place on disk": (dataflows.ledger.compaction, "sync", False),
}
POINTS: dict[str, Point] = POINTS_OF_FILES | _READING


def deaths_died(died: Path) -> set[int]:
    """The numbers of the deaths that were died."""
    return {int(line) for line in died.read_text().splitlines()} if died.exists() else set()


def main() -> None:
    deaths = [json.loads(line) for line in Path(os.environ[DEATHS]).read_text().splitlines()]
    died = Path(os.environ[DIED])
    left = [number for number in range(len(deaths)) if number not in deaths_died(died)]
    if left:
        point, call = deaths[left[0]]
        die_at(POINTS[point], call, lambda: _note(died, left[0]))
    process.main()


def _note(died: Path, number: int) -> None:
    with died.open("a") as file:
        file.write(f"{number}\n")


if __name__ == "__main__":
    main()
