"""One run of `backfill` or `reinject`: choose, write the input file, rate it, report; on the ledger or a copy."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from dataflows.connectors.files import InputFile
from dataflows.ledger.folder import LedgerFolder, locked, open_folder
from dataflows.settings import Settings
from ops.ledger_views import check_is_ledger, open_ledger
from ops.query import ask
from ops.rehearsal import rehearsal
from ops.reinjection import INPUTS, Kind, choose, input_files, write_input
from rating.catalog import CompiledCatalog

Rate = Callable[[Path, Sequence[Path]], None]

_VERDICTS = "SELECT verdict, count(*) FROM events WHERE list_contains(?, partition) GROUP BY ALL ORDER BY ALL"
_AMOUNTS = """
    SELECT subscription_id, product_id, period_start, period_end, currency,
        count(DISTINCT (partition, "offset")) AS events, sum(amount) AS amount
    FROM line_items WHERE list_contains(?, partition) GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Report:
    """What became, or would become, of the events that waited; `left` says why the others go on waiting."""

    applied: bool
    left: dict[str, int]
    verdicts: dict[str, int] = field(default_factory=dict)
    amounts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def events(self) -> int:
        """How many were, or would be, given to the flow again."""
        return sum(self.verdicts.values())


def run_again(
    ledger: Path, kind: Kind, catalog: CompiledCatalog, settings: Settings, rate: Rate, *, apply: bool
) -> Report:
    """Re-inject what waits; `rate` runs the flow on a ledger with input files. Without `apply` it happens on a copy."""
    check_is_ledger(ledger)
    origin = open_folder(ledger, settings.key_groups, settings.writers)
    with nullcontext(origin.root) if apply else rehearsal(origin) as place:
        folder = replace(origin, root=place)
        # The lock covers choosing and writing, so that two runs at once cannot choose the same events.
        with locked(folder), open_ledger(place) as connection:
            choice = choose(connection, place, kind, catalog)
            files = [origin.root / file.relative_to(place) for file in _unfinished(connection, folder, kind)]
            if choice.records:
                files.append(write_input(place, kind, choice.records))
        left = dict(sorted(choice.left.items()))
        if not files:
            return Report(apply, left)
        rate(place, files)
        with open_ledger(place) as connection:
            return _report(connection, _partitions(folder), files, left, apply)


def _report(
    connection: duckdb.DuckDBPyConnection,
    known: dict[str, int],
    files: Sequence[Path],
    left: dict[str, int],
    applied: bool,
) -> Report:
    partitions = [known[file.name] for file in files]
    verdicts = {str(verdict): int(events) for verdict, events in ask(connection, _VERDICTS, [partitions]).rows}
    return Report(applied, left, verdicts, ask(connection, _AMOUNTS, [partitions]).records)


def _unfinished(connection: duckdb.DuckDBPyConnection, folder: LedgerFolder, kind: Kind) -> list[Path]:
    """Files of earlier runs that were interrupted before all of their records had a verdict."""
    known = _partitions(folder)
    return [file for file in input_files(folder.root, kind) if not _is_rated(connection, file, known.get(file.name))]


def _is_rated(connection: duckdb.DuckDBPyConnection, file: Path, partition: int | None) -> bool:
    with open(file, "rb") as lines:
        records = sum(1 for _ in lines)
    rated = ask(connection, "SELECT count(*) FROM events WHERE partition = ?", [partition]).rows
    return rated == [[records]]


def _partitions(folder: LedgerFolder) -> dict[str, int]:
    """The partition of each input file that a re-injection made, by its name: the folder may have moved since."""
    if not folder.inputs.exists():
        return {}
    files = msgspec.json.decode(folder.inputs.read_bytes(), type=list[InputFile])
    return {Path(file.path).name: file.partition for file in files if Path(file.path).parent.name == INPUTS}
