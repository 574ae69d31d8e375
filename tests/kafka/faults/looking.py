"""An analyst who never looks away: everything seen in the ledger once must be there, unchanged, at every later look.

Usage: python -m tests.kafka.faults.looking LEDGER REPORT
Opens the ledger as analysts do, and looks some times a second until standard input ends. REPORT then has the number of
looks, the most rows seen, and what was wrong.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ops.ledger_views import open_ledger
from tests.flow.runs import ROOT

_SECONDS_BETWEEN_LOOKS = 0.1
# More, the longer a look takes: the flow needs the processors too.
_SHARE_OF_A_PROCESSOR = 0.25
_MOST_WRONG = 5
_TOO_SLOW = ("began too long ago", "No such file or directory")
_SEEN = {
    "events": '"partition", "offset", verdict, reason, content_digest',
    "line_items": "line_id, quantity, amount",
}
_KEYS = {"events": '"partition", "offset"', "line_items": "line_id"}
# One statement, so one state of the ledger: what the commits say, and what is there.
_CONSERVED = """
WITH said AS (
    SELECT coalesce(sum(received), 0) AS received, coalesce(sum(events), 0) AS events,
        coalesce(sum(line_items), 0) AS lines, count(*) AS commits, count(DISTINCT (writer, sequence)) AS named,
        coalesce(sum(rated + exempt + trial + blocked + duplicate + parked + late + rejected), 0) AS verdicts
    FROM commits
)
SELECT received, verdicts, events, (SELECT count(*) FROM events), (SELECT count(DISTINCT ("partition", "offset"))
    FROM events), lines, (SELECT count(*) FROM line_items), (SELECT count(DISTINCT line_id) FROM line_items),
    commits, named, (SELECT bool_and(holds) FROM conservation_total)
FROM said
"""


@contextmanager
def watched(ledger: Path, report: Path) -> Iterator[None]:
    """An analyst looks during the block, and must have seen no contradiction."""
    command = [sys.executable, "-m", "tests.kafka.faults.looking", str(ledger), str(report)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    try:
        yield
    except BaseException:
        process.kill()
        process.communicate()
        raise
    process.communicate(timeout=120)
    assert process.returncode == 0, "the analyst's own process broke"
    told = json.loads(report.read_text())
    assert told["wrong"] == []
    assert told["looks"] - told["failed"] > 5, f"the analyst hardly looked: {told}"
    assert told["rows"], "the analyst saw nothing at all"


@dataclass
class Looks:
    """What was seen so far; the connection remembers the rows themselves."""

    connection: duckdb.DuckDBPyConnection
    number: int = 0
    failed: int = 0
    rows: int = 0

    def begin(self) -> None:
        """Nothing has been seen yet."""
        for table, columns in _SEEN.items():
            self.connection.execute(f"CREATE TEMP TABLE seen_{table} AS SELECT {columns} FROM {table} LIMIT 0")

    def look(self) -> list[str]:
        """Look once more; gives what is wrong. A look that takes longer than replaced files stay says so, and fails."""
        self.number += 1
        try:
            return [*self._contradictions(), *self._vanished()]
        except duckdb.Error as error:
            if not any(words in str(error) for words in _TOO_SLOW):
                raise
            self.failed += 1
            # There is a transaction only while rows are compared.
            with suppress(duckdb.TransactionException):
                self.connection.rollback()
            return []

    def _contradictions(self) -> Iterator[str]:
        answer = self.connection.execute(_CONSERVED).fetchone()
        received, verdicts, events, stored, positions, lines, stored_lines, line_ids, commits, named, holds = answer
        if not received == verdicts == events == stored == positions:
            yield f"events, look {self.number}: {answer}"
        if not lines == stored_lines == line_ids or commits != named:
            yield f"line items, look {self.number}: {answer}"
        if not holds:
            yield f"conservation, look {self.number}: {answer}"
        self.rows = int(stored + stored_lines)

    def _vanished(self) -> Iterator[str]:
        for table, columns in _SEEN.items():
            # One transaction, so that what is compared is what is remembered.
            self.connection.execute("BEGIN")
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE now_{table} AS SELECT {columns} FROM {table}")
            gone = self.connection.execute(f"FROM seen_{table} EXCEPT ALL FROM now_{table} LIMIT 3").fetchall()
            twice = self.connection.execute(
                f"SELECT {_KEYS[table]} FROM now_{table} GROUP BY ALL HAVING count(*) > 1 LIMIT 3"
            ).fetchall()
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE seen_{table} AS FROM now_{table}")
            self.connection.execute("COMMIT")
            if gone:
                yield f"{table} vanished or changed, look {self.number}: {gone}"
            if twice:
                yield f"{table} repeated, look {self.number}: {twice}"


def main() -> None:
    ledger, report = Path(sys.argv[1]), Path(sys.argv[2])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    wrong: list[str] = []
    with open_ledger(ledger) as connection:
        connection.execute("SET threads = 1")
        looks = Looks(connection)
        looks.begin()
        pause = _SECONDS_BETWEEN_LOOKS
        while not ended.wait(pause) and len(wrong) < _MOST_WRONG:
            began = time.monotonic()
            wrong += looks.look()
            pause = max(_SECONDS_BETWEEN_LOOKS, (time.monotonic() - began) * (1 / _SHARE_OF_A_PROCESSOR - 1))
        wrong += looks.look()
    report.write_text(json.dumps({"looks": looks.number, "failed": looks.failed, "rows": looks.rows, "wrong": wrong}))


if __name__ == "__main__":
    main()
