"""An analyst's process: asks DuckDB the same questions over and over while others write, and notes every contradiction.

Usage: python -m tests.ledger.reader LEDGER REPORT
Ends when standard input does; REPORT then has the number of looks, the most events seen, and what was wrong.
"""

import json
import sys
import threading
from pathlib import Path

import duckdb

from dataflows.ledger.published import published_files_sql
from schemas.ledger import TABLES

# One statement: every table is read, `events` by two scans.
QUESTION = """
WITH said AS (
    SELECT coalesce(sum(received), 0) AS received, coalesce(sum(events), 0) AS events,
        coalesce(sum(line_items), 0) AS lines, count(*) AS commits, count(DISTINCT (writer, sequence)) AS named
    FROM commits
)
SELECT received, events, lines, commits, named,
    (SELECT count(*) FROM events), (SELECT count(DISTINCT (partition, "offset")) FROM events),
    (SELECT count(*) FROM line_items), (SELECT count(DISTINCT line_id) FROM line_items)
FROM said
"""


def main() -> None:
    ledger, report = Path(sys.argv[1]), Path(sys.argv[2])
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connection = duckdb.connect(config={"threads": 1})
    for table in TABLES:
        connection.execute(f"CREATE VIEW {table} AS {published_files_sql(ledger, table)}")
    connection.execute(f"PREPARE question AS {QUESTION}")
    looks, most, wrong = 0, 0, []
    while not ended.is_set() and len(wrong) < 5:
        answer = connection.execute("EXECUTE question" if looks % 2 else QUESTION).fetchone()
        received, events, lines, commits, named, events_stored, positions, lines_stored, line_ids = map(int, answer)
        looks += 1
        if not received == events == events_stored == positions or commits != named:
            wrong.append(f"events: {answer}")
        if not lines == lines_stored == line_ids:
            wrong.append(f"line items: {answer}")
        if received < most:
            wrong.append(f"rows vanished: {answer} after {most}")
        most = max(most, received)
    report.write_text(json.dumps({"looks": looks, "most": most, "wrong": wrong}))


if __name__ == "__main__":
    main()
