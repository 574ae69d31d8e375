"""Says what a start would restore: for each line [recovery store, step, key] the sequence of that writer."""

import json
import pickle
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from dataflows.ledger.commit import WriterState
from dataflows.recovery import resume_epoch


def main() -> None:
    for line in sys.stdin:
        folder, step, key = json.loads(line)
        print(_sequence(Path(folder), step, key), flush=True)


def _sequence(folder: Path, step: str, key: str) -> int:
    epoch = resume_epoch(folder)
    query = "SELECT ser_change FROM snaps WHERE step_id = ? AND state_key = ? AND snap_epoch < ? ORDER BY snap_epoch"
    (path,) = folder.glob("part-*.sqlite3")
    with closing(sqlite3.connect(path)) as store:
        found = store.execute(query, (step, key, epoch)).fetchall()
    return WriterState.load(pickle.loads(found[-1][0])).sequence if found else 0


if __name__ == "__main__":
    main()
