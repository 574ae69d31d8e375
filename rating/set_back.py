"""Setting back the verdicts of quotas when their windows end, or when the catalog makes room (semantics 5).

Owns which quotas stand blocked. The rule: a blocked verdict is followed by exactly one that sets it back, as soon as
the input whose event blocked it has been read up to the end of the window, whether or not another event comes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from heapq import heappop, heappush
from typing import Any

import polars as pl

from rating.catalog import CompiledCatalog
from rating.periods import microseconds, moment_of
from schemas.decimals import QUANTITY_SCALE, format_scaled, scaled_quantity
from schemas.ledger import QUOTA_VERDICTS, polars_schema

_SCHEMA = polars_schema(QUOTA_VERDICTS)
_OF_EVENT = ("offset", "source", "event_id")

Key = tuple[str, str]
Row = dict[str, Any]


@dataclass(slots=True)
class BlockedQuotas:
    """The last verdicts that block, by subscription and quota, and when their windows end, by input partition.

    Times are microseconds UTC.
    """

    rows: dict[Key, Row] = field(default_factory=dict)
    ends: dict[int, list[tuple[int, Key]]] = field(default_factory=dict)

    @classmethod
    def after(cls, rows: pl.DataFrame) -> "BlockedQuotas":
        """What stands blocked after these rows of `quota_verdicts`, in their order."""
        blocked = cls()
        for _ in blocked._follow(rows, []):
            pass
        return blocked

    def take(self, rows: pl.DataFrame) -> pl.DataFrame:
        """New rows, and before each of a later window the one that sets back what still stood blocked.

        A row of an earlier window than the one that stands blocked is left out: the later one holds.
        """
        blocks = rows["verdict"] == "blocked"
        if not self.rows and not blocks.any():
            return rows
        outdated: list[int] = []
        before = list(self._follow(rows, outdated))
        if outdated:
            rows = rows.with_row_index("place").filter(~pl.col("place").is_in(outdated)).drop("place")
            before = [(place - sum(one < place for one in outdated), row) for place, row in before]
        if not before:
            return rows
        places = pl.Series("place", [place for place, _ in before], pl.Int64)
        inserted = _frame([row for _, row in before]).with_columns(places, second=pl.lit(False))
        own = rows.with_row_index("place").with_columns(pl.col("place").cast(pl.Int64), second=pl.lit(True))
        both = pl.concat([inserted, own.select(inserted.columns)])
        return both.sort("place", "second", maintain_order=True).select(_SCHEMA.names())

    def set_back(self, partition: int, progress: int) -> pl.DataFrame:
        """The rows that set back what was blocked in windows that end at the progress of its partition or before."""
        ends = self.ends.get(partition, [])
        rows = []
        while ends and ends[0][0] <= progress:
            end, key = heappop(ends)
            held = self.rows.get(key)
            if held is not None and held["partition"] == partition and _end(held) == end:
                rows.append(_set_back(self.rows.pop(key)) | {"told_at": held["window_end"]})
        return _frame(rows)

    def under(self, catalog: CompiledCatalog, progress: Mapping[int, int]) -> pl.DataFrame:
        """The rows that let through again what no longer is at its limit under this catalog.

        `progress` is how far each input partition has been read.
        """
        rows = []
        for key, held in list(self.rows.items()):
            limit = _limit(held, catalog)
            if limit is None or limit > held["usage"]:
                del self.rows[key]
                told_at = max(held["told_at"], moment_of(progress.get(held["partition"], 0)))
                rows.append(_allowed_by(held, limit, catalog) | {"told_at": told_at})
        return _frame(rows)

    def _follow(self, rows: pl.DataFrame, outdated: list[int]) -> Iterator[tuple[int, Row]]:
        """Goes through rows; gives the rows that set back, and before which row each comes; notes what is outdated."""
        keys = zip(rows["subscription_id"], rows["quota"], rows["verdict"], strict=True)
        for place, (subscription, quota, verdict) in enumerate(keys):
            key = subscription, quota
            if verdict != "blocked" and key not in self.rows:
                continue
            row = rows.row(place, named=True)
            if key in self.rows and row["cause"] == "usage" and row["window_start"] < self.rows[key]["window_start"]:
                outdated.append(place)
                continue
            held = self.rows.pop(key, None)
            if held is not None and row["cause"] == "usage" and _is_over(held, row["window_start"]):
                yield place, _set_back(held)
            if verdict == "blocked":
                self.rows[key] = row
                end = _end(row)
                if end is not None:
                    heappush(self.ends.setdefault(row["partition"], []), (end, key))


def _is_over(held: Row, start: datetime) -> bool:
    return held["window_end"] is not None and held["window_end"] <= start


def _end(row: Row) -> int | None:
    return None if row["window_end"] is None else microseconds(row["window_end"])


def _set_back(held: Row) -> Row:
    end = held["window_end"]
    begun = {"usage": Decimal(0), "remaining": held["limit"], "window_start": end, "window_end": None}
    return _without_event(held) | begun | {"verdict": "allowed", "cause": "window_end", "occurred_at": end}


def _allowed_by(held: Row, limit: Decimal | None, catalog: CompiledCatalog) -> Row:
    """Without a limit, the quota is no longer there, or the subscription pins another product."""
    known = held["limit"] if limit is None else limit
    said = {"verdict": "allowed", "cause": "catalog", "limit": known, "catalog_digest": catalog.digest}
    left = max(scaled_quantity(known) - scaled_quantity(held["usage"]), 0)
    return _without_event(held) | said | {"remaining": Decimal(format_scaled(left, QUANTITY_SCALE))}


def _without_event(held: Row) -> Row:
    return held | dict.fromkeys(_OF_EVENT)


def _limit(held: Row, catalog: CompiledCatalog) -> Decimal | None:
    subscription = catalog.subscription_rows.get(held["subscription_id"])
    if subscription is None:
        return None
    product = int(catalog.subscriptions.product[subscription])
    pinned = catalog.products.ids[product], catalog.products.versions[product]
    if pinned != (held["product_id"], held["product_version"]):
        return None
    first, last = catalog.products.first_charge[product : product + 2].tolist()
    for quota in catalog.charges.quotas[first:last]:
        if quota is not None and quota.name == held["quota"] and quota.on_exceed == "block":
            return quota.limit
    return None


def _frame(rows: list[Mapping[str, Any]] | list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
