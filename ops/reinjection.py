"""Late and parked events, given to the rating flow once more: which ones, and the input files that carry them.

Owns `<ledger>/inputs/<kind>-<number>.ndjson`. Does not own rating them: the flow reads such a file like any other. The
rule: a record in such a file names the position it was first read at, and what a file names is never chosen again, so
an event is re-injected once, however often and whenever a run is repeated.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import orjson

from dataflows.steps.decode import decode
from ops.query import ask, ask_in_batches
from rating.catalog import CompiledCatalog
from rating.engine import LaneState, RatingSettings, admit
from schemas.events import RECORD_BYTES_LIMIT
from schemas.verdicts import Reason

Kind = Literal["late", "parked"]
Position = tuple[int, int]

INPUTS = "inputs"
ORIGIN = "ratemillorigin"
_FILE_KINDS: dict[Kind, str] = {"late": "backfill", "parked": "reinject"}
_BATCH = 20_000

_WAITING = """
    SELECT partition, "offset", source, event_id, event_time, subscription_id, credential_id, subscriber,
        organization_id, synthetic, data
    FROM events WHERE verdict = ? ORDER BY partition, "offset"
"""
_DISCOVERED = """
    SELECT credential_id, any_value(subscription_id) FROM credentials_seen
    GROUP BY credential_id HAVING count(DISTINCT subscription_id) = 1
"""
_ATTRIBUTES = {
    "source": "source",
    "event_id": "id",
    "subscription_id": "subscription",
    "credential_id": "credential",
    "subscriber": "subscriber",
    "organization_id": "organization",
}


@dataclass(frozen=True)
class Waiting:
    """An event that waits: where it was read first, and its record as it is given to the flow again."""

    position: Position
    record: bytes


@dataclass
class Choice:
    """The records to re-inject now, and why how many others go on waiting."""

    records: list[bytes] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)


def choose(
    connection: duckdb.DuckDBPyConnection,
    ledger: Path,
    kind: Kind,
    catalog: CompiledCatalog,
    unsettled: Callable[[dict[str, Any]], bool] = lambda row: True,
) -> Choice:
    """What of the events that wait can be charged with this catalog and was not re-injected before.

    `unsettled` is asked, in the order of positions, for what else must hold of a row.
    """
    taken = set(_origins(ledger, kind))
    found = {str(name): str(home) for name, home in ask(connection, _DISCOVERED).rows}
    discovered = {name: home for name, home in found.items() if name not in catalog.credential_rows}
    choice = Choice()
    lane = LaneState.new()
    for rows in ask_in_batches(connection, _WAITING, [kind], _BATCH):
        open_rows = (row for row in rows if (row["partition"], row["offset"]) not in taken and unsettled(row))
        events = [_waiting(row, discovered) for row in open_rows]
        lane = _choose_from(events, lane, catalog, choice)
    return choice


def input_files(ledger: Path, kind: Kind) -> list[Path]:
    """The files of earlier re-injections, in their order; a run names them all again, so that none stays half done."""
    return sorted((ledger / INPUTS).glob(f"{_FILE_KINDS[kind]}-*.ndjson"))


def write_input(ledger: Path, kind: Kind, records: Sequence[bytes]) -> Path:
    """A new input file; it is complete on disk before it has its name."""
    folder = ledger / INPUTS
    folder.mkdir(exist_ok=True)
    target = folder / f"{_FILE_KINDS[kind]}-{len(input_files(ledger, kind)) + 1:06d}.ndjson"
    aside = folder / f".{target.name}"
    with open(aside, "wb") as file:
        file.writelines(record + b"\n" for record in records)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(target)
    return target


def _choose_from(events: Sequence[Waiting], lane: LaneState, catalog: CompiledCatalog, choice: Choice) -> LaneState:
    """Reads the records as the flow will, and leaves out those that it would not charge to anybody."""
    if not events:
        return lane
    offsets = np.arange(len(events), dtype=np.int64)
    batch = decode([event.record for event in events], 0, offsets, catalog)
    lane, admitted = admit(lane, batch, catalog, RatingSettings())
    refused = dict(zip(admitted.settled["offset"].to_list(), admitted.settled["reason"].to_list(), strict=True))
    for offset, event in enumerate(events):
        if offset in refused:
            choice.left[refused[offset]] += 1
        elif len(event.record) > RECORD_BYTES_LIMIT:
            choice.left[Reason.TOO_LARGE] += 1
        else:
            choice.records.append(event.record)
    return lane


def _waiting(row: dict[str, Any], discovered: dict[str, str]) -> Waiting:
    """The event of a row as a record; one that named only a credential gets the subscription it was discovered with."""
    attributes = {name: row[column] for column, name in _ATTRIBUTES.items() if row[column] is not None}
    if row["credential_id"] in discovered and "subscription" not in attributes:
        attributes["subscription"] = discovered[row["credential_id"]]
    attributes["time"] = row["event_time"].isoformat(timespec="microseconds").replace("+00:00", "Z")
    if row["synthetic"]:
        attributes["synthetic"] = True
    attributes[ORIGIN] = f"{row['partition']}-{row['offset']}"
    # The data stay the bytes that were sent, so that a repeat still has the same digest; a record is one line.
    data = (row["data"] or "{}").replace("\n", " ").replace("\r", " ").encode()
    return Waiting((row["partition"], row["offset"]), orjson.dumps(attributes)[:-1] + b',"data":' + data + b"}")


def _origins(ledger: Path, kind: Kind) -> Iterable[Position]:
    for file in input_files(ledger, kind):
        with open(file, "rb") as lines:
            for line in lines:
                partition, offset = orjson.loads(line)[ORIGIN].split("-")
                yield int(partition), int(offset)
