"""Which quotas stand blocked, as one writer of the ledger knows it, and the rows that set them back.

Owns: reading back what stood blocked. Does not own: when a verdict is set back (`rating.set_back`). The rule: it needs
no snapshot, for the kept commits say it all; what a crash undid comes again with the records that are read again.
"""

import polars as pl

from dataflows.catalogs import Catalogs
from dataflows.ledger import manifest
from dataflows.ledger.commit import LanePosition
from dataflows.ledger.folder import LedgerFolder
from dataflows.ledger.writer import LedgerWriter
from rating.set_back import BlockedQuotas
from schemas.ledger import QUOTA_VERDICTS, polars_schema


class SetBacks:
    """What stands blocked after the last kept commit of a writer, and after all that it has been given since."""

    def __init__(self, folder: LedgerFolder, writer: LedgerWriter, catalogs: Catalogs) -> None:
        self._catalogs = catalogs
        self._catalog = writer.catalog
        self._reached = {lane: at.progress for lane, at in writer.lanes.items() if at.progress is not None}
        self._blocked = BlockedQuotas.after(_still_open(folder, writer, self._reached))

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """New rows of `quota_verdicts`, and those that set back what stood blocked before or is over already."""
        taken = [self._blocked.take(rows)]
        taken += [self._blocked.set_back(lane, progress) for lane, progress in self._reached.items()]
        return pl.concat(taken)

    def reach(self, partition: int, position: LanePosition, catalog: str) -> pl.DataFrame:
        """The rows that set back what is over, now that an input is read up to a position, under a catalog (digest)."""
        freed = []
        if catalog != self._catalog:
            self._catalog = catalog
            freed.append(self._blocked.under(self._catalogs.compiled(catalog)))
        if position.progress is not None:
            self._reached[partition] = max(position.progress, self._reached.get(partition, position.progress))
            freed.append(self._blocked.set_back(partition, self._reached[partition]))
        return pl.concat(freed) if freed else pl.DataFrame(schema=polars_schema(QUOTA_VERDICTS))


def _still_open(folder: LedgerFolder, writer: LedgerWriter, reached: dict[int, int]) -> pl.DataFrame:
    """The verdicts of windows that are not over, in the order in which they were given."""
    schema = polars_schema(QUOTA_VERDICTS)
    files = [file.name for file in manifest.load(folder.manifest(writer.number)).live("quota_verdicts")]
    if not files:
        return pl.DataFrame(schema=schema)
    rows = pl.scan_parquet([folder.table("quota_verdicts") / name for name in files], hive_partitioning=False)
    earliest = pl.lit(min(reached.values(), default=0)).cast(schema["window_end"])
    return rows.filter(pl.col("window_end").is_null() | (pl.col("window_end") > earliest)).collect()
