"""Rating once more: the stored events of a writer through the core, and its line items compared column by column.

    rows of a commit ──► their order ──► data decoded again ──► admit ──► rate ──► assemble ──► compare with the rows

Owns that. Does not own what is owed for a record (`rating`). The rule: every event is rated by the catalog that its
lines name, else by the one that was in effect at its place, after all events that its key group had rated before.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from dataflows.catalog_versions import CatalogVersions
from dataflows.catalogs import Catalogs
from dataflows.connectors.files import FIRST_FILE_PARTITION
from dataflows.errors import RatemillError
from dataflows.ledger.commit_rows import Commit, CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.steps.decode import decode
from dataflows.verification.commits import CommitRow, place_of
from dataflows.verification.findings import Check, Findings, Unchecked
from dataflows.verification.order import FoundOrder, rating_order
from dataflows.verification.totals import without_equal_totals
from rating.batch import DecodedBatch, key_group_of
from rating.catalog import CompiledCatalog
from rating.engine import GroupState, LaneState, RatingSettings, admit, assemble, rate
from rating.resolve import NONE_YET
from schemas.ledger import EVENTS, LINE_ITEMS, polars_schema
from schemas.verdicts import Reason, Verdict

_EVENT_TYPES, _LINE_TYPES = polars_schema(EVENTS), polars_schema(LINE_ITEMS)
_POSITION = ["partition", "offset"]
_FRONT, _BACK = b'{"specversion":"1.0","id":"0","source":"0","subject":"0","data":', b"}"
_FROM_THE_ROW = ("source", "event_id", "subscription_id", "credential_id", "subscriber", "organization_id", "synthetic")
# The only refusals that rating itself decides, from what is stored.
_REFUSED_BY_RATING = (Reason.BAD_QUANTITY, Reason.OVERFLOW)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What rating depended on beside events: `lateness` bounds the duplicate index, in microseconds (None: not)."""

    folder: LedgerFolder
    catalogs: CatalogVersions
    lateness: int | None


class Replay:
    """One writer of the rating flow, replayed commit by commit."""

    def __init__(
        self, circumstances: Circumstances, writer: int, partitions: frozenset[int], findings: Findings
    ) -> None:
        self._given = circumstances
        self._reader = CommitReader(circumstances.folder, writer)
        self._findings = findings
        groups = circumstances.folder.shape.key_groups
        self._rater = Rater(circumstances.catalogs, groups, circumstances.lateness, partitions)
        self._versions = circumstances.catalogs.history.versions() if circumstances.folder.topic.exists() else []

    def run(self, rows: list[CommitRow]) -> None:
        """Replay all commits; after damage nothing more can be replayed, and what is left is counted."""
        for number, row in enumerate(rows):
            try:
                commit = self._reader.commit(row["sequence"])
                events = self._rows(commit, "events", EVENTS)
                self._compare(row, events, self._rows(commit, "line_items", LINE_ITEMS))
            except RatemillError as error:
                self._findings.damage(place_of(row), "", str(error))
                self._findings.unchecked[Unchecked.DAMAGED] += len(rows) - number
                return

    def _rows(self, commit: Commit, table: str, schema: pa.Schema) -> pl.DataFrame:
        """All rows of a commit: only within a whole one is it certain what was rated before what."""
        return pl.concat([pl.DataFrame(schema=polars_schema(schema)), *self._reader.rows(commit, table, schema.names)])

    def _compare(self, row: CommitRow, events: pl.DataFrame, lines: pl.DataFrame) -> None:
        place = place_of(row)
        is_replayed = can_be_rated()
        taken = events.filter(~is_replayed)
        self._findings.unchecked[Unchecked.AS_STORED] += taken.height
        open_events = self._placed(row, events.filter(is_replayed), lines)
        order = rating_order(open_events, lines)
        computed, computed_lines = self._rater.rate(open_events[pl.Series(order.rows.astype(np.uint32))])
        stored = open_events.select(EVENTS.names)
        self._findings.compare(Check.VERDICTS, place, stored, computed, _POSITION)
        if order.unordered:
            lines, computed_lines = self._unordered(open_events, order, lines, computed_lines)
        self._findings.compare(Check.LINE_ITEMS, place, lines, computed_lines, ["line_id"])

    def _unordered(
        self, events: pl.DataFrame, order: FoundOrder, lines: pl.DataFrame, computed: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The lines without those whose order cannot be known and whose totals agree."""
        concerned = events.filter(pl.col("key_group").is_in(sorted(order.unordered)))["subscription_id"].unique()
        kept, computed_kept, equal = without_equal_totals(lines, computed, concerned)
        self._findings.unchecked[Unchecked.BY_TOTALS] += equal
        return kept, computed_kept

    def _placed(self, row: CommitRow, events: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
        """The events with their `catalog` (a digest) and `key_group`."""
        history = self._given.catalogs.history
        named = lines.select(*_POSITION, named="catalog_digest").unique(_POSITION, keep="first")
        kept = [digest for digest in named["named"].unique().to_list() if history.keeps(digest)]
        default = pl.lit(row["catalog_digest"])
        if self._versions:
            since = np.array([stamp.effective_from for stamp in self._versions])
            clocks = events["record_time"].to_physical().fill_null(NONE_YET).to_numpy()
            places = np.maximum(np.searchsorted(since, clocks, side="right") - 1, 0)
            at = pl.Series([stamp.digest for stamp in self._versions], dtype=pl.String)[places]
            default = pl.when(pl.col("partition") < FIRST_FILE_PARTITION).then(at).otherwise(default)
        groups = self._given.folder.shape.key_groups
        names = events["subscription_id"].unique().drop_nulls().to_list()
        numbers = {name: key_group_of(name, groups) for name in names}
        return (
            events.with_columns(
                catalog=default, key_group=pl.col("subscription_id").replace_strict(numbers, return_dtype=pl.Int64)
            )
            .join(named.filter(pl.col("named").is_in(kept)), on=_POSITION, how="left", maintain_order="left")
            .with_columns(catalog=pl.coalesce("named", "catalog"))
            .drop("named")
        )


class Rater:
    """Rates stored events once more; holds the states of key groups. `partitions` are all that events may come from."""

    def __init__(self, catalogs: Catalogs, key_groups: int, lateness: int | None, partitions: frozenset[int]) -> None:
        self._catalogs = catalogs
        # What was late or too far ahead is taken as it is stored.
        self._settings = RatingSettings(key_groups, None, None)
        self._lateness = lateness
        self._partitions = partitions
        self._groups: dict[int, tuple[GroupState, CompiledCatalog]] = {}

    def rate(self, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of `events` and `line_items` of these events, in the order of rating; `catalog` is each one's digest."""
        found, lines = [pl.DataFrame(schema=_EVENT_TYPES)], [pl.DataFrame(schema=_LINE_TYPES)]
        runs = events.with_columns(run=pl.struct("partition", "catalog").rle_id())
        for run in runs.partition_by("run", maintain_order=True, include_key=False):
            catalog = self._catalogs.compiled(run["catalog"][0])
            batch = _decoded(run.sort("offset"), catalog)
            _, admitted = admit(LaneState.new(), batch, catalog, self._settings)
            found.append(admitted.settled)
            rated = []
            for group, share in admitted.shares:
                state, outcome = rate(self._state(group, catalog), share, catalog, self._settings)
                # Every stored row is there once, so none was applied before; parked ones may come out of their order.
                state.applied.clear()
                self._groups[group] = state, catalog
                rated.append(outcome)
            made = assemble(rated, catalog)
            found.append(made.events)
            lines.append(made.line_items)
        return pl.concat(found), pl.concat(lines)

    def _state(self, group: int, catalog: CompiledCatalog) -> GroupState:
        known = self._groups.get(group)
        if known is None:
            state = GroupState.new(group, self._lateness)
            # Until something came of each, nothing is forgotten.
            state.duplicates.expect(self._partitions)
            return state
        state, before = known
        return state if before.digest == catalog.digest else state.under(before, catalog)


def can_be_rated() -> pl.Expr:
    """Which rows the core can decide again from what is stored of them."""
    by_rating = pl.col("reason").is_in([str(reason) for reason in _REFUSED_BY_RATING])
    rejected = pl.col("verdict") == Verdict.REJECTED.label
    late = pl.col("verdict") == Verdict.LATE.label
    return (~late & ~rejected) | (rejected & by_rating & pl.col("data").is_not_null())


def _decoded(events: pl.DataFrame, catalog: CompiledCatalog) -> DecodedBatch:
    """The events of one partition as they were decoded once: their data read again, all else as it is stored."""
    records = [_FRONT + data.encode() + _BACK for data in events["data"].fill_null("{}")]
    clocks = events["record_time"].to_physical().fill_null(NONE_YET).to_numpy()
    own_records = replace(catalog, foreign=())
    batch = decode(records, int(events["partition"][0]), events["offset"].to_numpy(), own_records, clocks)
    stated = events.select(*_FROM_THE_ROW, event_time=pl.col("event_time").to_physical())
    return replace(batch, events=batch.events.with_columns(stated.get_columns()))
