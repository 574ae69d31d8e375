"""Which quotas stand blocked, as one writer of the ledger knows it, and the rows that set them back.

Owns: reading back what stood blocked. Does not own: when a verdict is set back (`rating.set_back`). The rule: it needs
no snapshot, for the kept commits say it all; what a crash undid comes again with the records that are read again.
"""

import polars as pl

from dataflows.catalogs import Catalogs
from dataflows.ledger import manifest
from dataflows.ledger.commit import LanePosition, progress_of
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.writer import LedgerWriter
from rating.set_back import BlockedQuotas
from schemas.ledger import QUOTA_VERDICTS, polars_schema

_SCHEMA = polars_schema(QUOTA_VERDICTS)
_NONE = pl.DataFrame(schema=_SCHEMA)


class SetBacks:
    """What stands blocked after the last kept commit of a writer, and after all that it has been given since."""

    def __init__(self, folder: LedgerFolder, writer: LedgerWriter, catalogs: Catalogs) -> None:
        self._catalogs = catalogs
        self._catalog = writer.catalog
        self._catalogs_before: set[str] = set()
        self._lanes = dict(writer.lanes)
        self._blocked = BlockedQuotas.after(_still_open(folder, writer, self._reached))

    @property
    def _reached(self) -> dict[int, int]:
        """How far each input has been read; one that is read to its end, as far as all of them."""
        progress = progress_of(self._lanes.values())
        known = {lane: progress if at.finished else at.progress for lane, at in self._lanes.items()}
        return {lane: moment for lane, moment in known.items() if moment is not None}

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """New rows of `quota_verdicts`, and those that set back what stood blocked before or is over already."""
        if rows.is_empty():
            return rows
        taken = [self._blocked.take(rows)]
        if rows["catalog_digest"].is_in(self._catalogs_before).any():
            # What was rated under the catalog before is judged by this one, as all that it found blocked.
            taken.append(self._blocked.under(self._catalogs.compiled(self._catalog), self._reached))
        return pl.concat([*taken, *self._over()])

    def reach(self, partition: int, position: LanePosition, catalog: str) -> pl.DataFrame:
        """The rows that set back what is over, now that an input is read up to a position, under a catalog (digest)."""
        self._lanes[partition] = position.after(self._lanes.get(partition))
        reached = self._reached
        freed = []
        # An input that lies behind may still be under the catalog before.
        if catalog != self._catalog and reached.get(partition, 0) >= max(reached.values(), default=0):
            self._catalogs_before = (self._catalogs_before | {self._catalog}) - {catalog}
            self._catalog = catalog
            freed.append(self._blocked.under(self._catalogs.compiled(catalog), reached))
        parts = [*freed, *self._over()]
        return pl.concat(parts) if parts else _NONE

    def _over(self) -> list[pl.DataFrame]:
        if not self._blocked.rows:
            return []
        return [self._blocked.set_back(lane, moment) for lane, moment in self._reached.items()]


def _still_open(folder: LedgerFolder, writer: LedgerWriter, reached: dict[int, int]) -> pl.DataFrame:
    """The verdicts of windows that are not over for all inputs, and what set them back, in their order."""
    files = [file.name for file in manifest.load(folder.manifest(writer.number)).live("quota_verdicts")]
    if not files:
        return pl.DataFrame(schema=_SCHEMA)
    rows = pl.scan_parquet([folder.table("quota_verdicts") / name for name in files], hive_partitioning=False)
    earliest = pl.lit(min(reached.values(), default=0)).cast(_SCHEMA["window_end"])
    endless = pl.col("window_end").is_null()
    set_back = pl.col("cause") == "window_end"
    open_rows = rows.filter(
        pl.when(set_back).then(pl.col("occurred_at") > earliest).otherwise(endless | (pl.col("window_end") > earliest))
    )
    return open_rows.collect()
