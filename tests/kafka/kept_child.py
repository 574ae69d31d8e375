"""A process of the rating flow that asks, at two moments, what the recovery store would restore: in another process,
for nobody may open the store where the engine has it open.

TESTS_KEPT is a file that gets a JSON line [moment, sealed, stored] each time: how many commits a writer has given the
engine, and how many the store has kept.
"""

import json
import os
import subprocess
import sys
from threading import Lock

from dataflows import process
from dataflows.connectors.ledger import LedgerPartition
from dataflows.preparation import FLOW, LEDGER_STEP

KEPT = "TESTS_KEPT"
TOLD, GIVEN = "told", "given"


def main() -> None:
    asked = [sys.executable, "-m", "tests.kafka.kept_store"]
    store = subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    alone = Lock()

    def note(partition, moment):
        writer = partition._writer
        question = [str(partition._folder.recovery), f"{FLOW}.{LEDGER_STEP}", f"writer-{writer._writer:02d}"]
        with alone:
            store.stdin.write(json.dumps(question) + "\n")
            store.stdin.flush()
            stored = json.loads(store.stdout.readline())
            with open(os.environ[KEPT], "a") as file:
                file.write(json.dumps([moment, writer._state.sequence, stored]) + "\n")

    _note_around(LedgerPartition, note)
    process.main()


def _note_around(partition_class, note):
    kept, snapshot = partition_class.kept, partition_class.snapshot

    def noted_kept(self):
        if not self._is_kept:
            note(self, TOLD)
        kept(self)

    def noted_snapshot(self):
        state = snapshot(self)
        note(self, GIVEN)
        return state

    partition_class.kept, partition_class.snapshot = noted_kept, noted_snapshot


if __name__ == "__main__":
    main()
