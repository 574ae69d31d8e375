"""History under another catalog: the stored events rated once more by it, and both sides summed for comparison.

Owns which events are rated again. Does not own what sums owe (`rating.range_amounts`). The rule: an event stays with
the subscription that it was charged to; parked ones are asked again whom they are charged to; repeats, late ones, and
records that were no events stay what they are. Nothing is written.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from dataflows.catalogs import OneCatalog
from dataflows.ledger.commit_rows import CommitReader
from dataflows.ledger.folder import LedgerFolder
from dataflows.moments import datetime_of
from dataflows.verification.replay import Rater, can_be_rated
from rating.catalog import CompiledCatalog
from rating.range_amounts import RANGE_SUMMED
from schemas.ledger import EVENTS

_SUMS_AT_ONCE = 64
_EVENTS_AT_ONCE = 65_536
_OF_LINES = (
    *("event_time", "subscription_id", "product_id", "product_version", "charge_id", "line_kind", "tier"),
    *("period_start", "currency", "credential_id", "synthetic", "quantity", "usage_before", "usage_after"),
    *("unit_price", "amount"),
)
_KEYS = [
    *("subscription_id", "product_id", "product_version", "charge_id", "line_kind", "tier", "period_start"),
    *("currency", "credential_id", "inside"),
]
_NOT_CHARGED = ("trial", "blocked")


@dataclass(slots=True)
class LineSums:
    """Line items summed as settlement needs them; `begin`, `end` (microseconds UTC) say which events lie inside."""

    begin: int
    end: int
    _parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, lines: pl.DataFrame) -> None:
        """Add line items."""
        charged = lines.filter(~pl.col("line_kind").is_in(_NOT_CHARGED)).with_columns(
            inside=pl.col("event_time").is_between(datetime_of(self.begin), datetime_of(self.end), closed="left"),
            usage=pl.col("usage_after") - pl.col("usage_before"),
            unit_price_least="unit_price",
            unit_price_most="unit_price",
        )
        self._parts.append(_summed(charged))
        if len(self._parts) >= _SUMS_AT_ONCE:
            self._parts = [_summed(pl.concat(self._parts))]

    def all(self) -> pl.DataFrame:
        """The sums, as RANGE_SUMMED."""
        none = pl.DataFrame(schema=RANGE_SUMMED)
        return _summed(pl.concat([none, *self._parts])).select(list(RANGE_SUMMED))


def _summed(lines: pl.DataFrame) -> pl.DataFrame:
    sums = lines.group_by(_KEYS).agg(
        pl.col("synthetic").any(),
        pl.col("quantity", "usage", "amount").sum(),
        pl.col("unit_price_least").min(),
        pl.col("unit_price_most").max(),
    )
    return sums.select(list(RANGE_SUMMED)).cast(RANGE_SUMMED)  # type: ignore[arg-type]


def sum_stored(folder: LedgerFolder, sums: LineSums) -> None:
    """Add the line items of a ledger as they are."""
    for frame in _frames(folder, "line_items", _OF_LINES):
        sums.add(frame)


def sum_rated_again(
    folder: LedgerFolder, catalog: CompiledCatalog, sums: LineSums, on_progress: Callable[[int], None]
) -> None:
    """Add the line items that another catalog makes of a ledger's events; `on_progress` is told how many were rated."""
    rater = Rater(OneCatalog(catalog), folder.shape.key_groups, None, frozenset())
    done = 0
    for events in _joined(_frames(folder, "events", EVENTS.names)):
        repeats = pl.col("verdict") == "duplicate"
        again = events.filter(can_be_rated() & ~repeats).with_columns(catalog=pl.lit(catalog.digest))
        _, lines = rater.rate(again)
        sums.add(lines.select(_OF_LINES))
        done += events.height
        on_progress(done)


def _frames(folder: LedgerFolder, table: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    for writer in folder.writers():
        reader = CommitReader(folder, writer)
        for sequence in range(reader.published):
            yield from reader.rows(reader.commit(sequence), table, columns)


def _joined(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Frames, some of them together."""
    waiting: list[pl.DataFrame] = []
    for frame in frames:
        waiting.append(frame)
        if sum(part.height for part in waiting) >= _EVENTS_AT_ONCE:
            yield pl.concat(waiting)
            waiting = []
    if waiting:
        yield pl.concat(waiting)
