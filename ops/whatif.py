"""What history would have cost under another catalog: both sides computed, and their differences.

Owns the range and the comparison. Does not own amounts (`rating.range_amounts`) or rating (`verification.rerating`).
The rule: amounts are subtracted in one currency only, and a subscription that the other catalog lacks is named instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError
from dataflows.ledger.folder import LedgerFolder
from dataflows.settlement.reading import look
from dataflows.verification.rerating import LineSums, sum_rated_again, sum_stored
from ops.ledger_views import open_ledger
from ops.query import ask
from rating.catalog import CompiledCatalog, compile_catalog
from rating.periods import microseconds
from rating.range_amounts import RangeAmounts, range_amounts
from rating.settle import Tariff
from schemas.catalog import Catalog

_RANGE = """
    SELECT (SELECT min(period_start) FROM line_items), min(event_time), max(event_time) FROM events
    WHERE verdict IN ('rated', 'exempt', 'trial', 'blocked', 'parked')
"""
_MOST_NAMED = 10
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Differences (then - now) by subscription, product and currency over [begin, end).

    `missing` are subscriptions that the other catalog lacks, with what they owe now; they are in no other table, and
    nor are those of `simulated`, whose usage nobody had, with what they would owe.
    `moved` have another product there. `whole` and `cut` count the settlement periods of both sides.
    """

    begin: datetime
    end: datetime
    subscriptions: list[Row]
    products: list[Row]
    totals: list[Row]
    simulated: list[Row]
    missing: list[Row]
    moved: list[Row]
    whole: tuple[int, int]
    cut: tuple[int, int]

    def winners(self) -> list[Row]:
        """Who would pay less, in each currency the ten with the greatest difference."""
        return self._greatest(-1)

    def losers(self) -> list[Row]:
        """Who would pay more, likewise."""
        return self._greatest(1)

    def _greatest(self, sign: int) -> list[Row]:
        named = [row for row in self.subscriptions if sign * row["difference"] > 0]
        named.sort(key=lambda row: (row["currency"], -sign * row["difference"], row["subscription_id"]))
        counts: dict[str, int] = {}
        kept = []
        for row in named:
            counts[row["currency"]] = counts.get(row["currency"], 0) + 1
            if counts[row["currency"]] <= _MOST_NAMED:
                kept.append(row)
        return kept


def compare_catalogs(
    folder: LedgerFolder,
    catalog: Catalog,
    begin: datetime | None,
    end: datetime | None,
    on_progress: Callable[[int, int], None] = lambda done, expected: None,
) -> Comparison:
    """A ledger's history under its own catalog, the one in force last, and under another one."""
    begin, end, events = _range(folder.root, begin, end)
    tariffs = _tariff_now(folder), Tariff.of(catalog, compile_catalog(catalog))
    sums = [LineSums(microseconds(begin), microseconds(end)) for _ in tariffs]
    sum_stored(folder, sums[0])
    sum_rated_again(folder, tariffs[1].seller.catalog, sums[1], lambda done: on_progress(done, events))
    lines = [own.all() for own in sums]
    simulated = pl.concat([own.filter("synthetic").select("subscription_id") for own in lines]).unique()
    sides = [
        range_amounts(tariff, own, microseconds(begin), microseconds(end))
        for tariff, own in zip(tariffs, lines, strict=True)
    ]
    catalogs = tariffs[0].seller.catalog, tariffs[1].seller.catalog
    return _compared(begin, end, catalogs, sides[0], sides[1], simulated)


def _range(ledger: Path, begin: datetime | None, end: datetime | None) -> tuple[datetime, datetime, int]:
    """From the beginning of the earliest period that has a line, up to and including the last event."""
    with open_ledger(ledger) as connection:
        [[earliest, first, last]] = ask(connection, _RANGE).rows
        [[events]] = ask(connection, "SELECT count(*) FROM events").rows
    if first is None:
        raise RatemillError(f"the ledger {ledger} has no events that a catalog could rate")
    begin, end = begin or min(earliest or first, first), end or last + timedelta(microseconds=1)
    if begin >= end:
        raise RatemillError("the range ends before it begins: name an earlier --from or a later --to")
    return begin, end, int(events)


def _tariff_now(folder: LedgerFolder) -> Tariff:
    with look(folder.root) as reader:
        digest = reader.completeness(folder.shape.writers).catalog
    assert digest, "a ledger with events has commits"
    versions = CatalogVersions(CatalogHistory(folder.root))
    return Tariff.of(versions.history.catalog(digest), versions.compiled(digest))


def _compared(
    begin: datetime,
    end: datetime,
    catalogs: tuple[CompiledCatalog, CompiledCatalog],
    now: RangeAmounts,
    then: RangeAmounts,
    simulated: pl.DataFrame,
) -> Comparison:
    known = pl.DataFrame({"subscription_id": catalogs[1].subscriptions.ids})
    absent, kept = _joined(now.amounts, known, "anti"), _joined(now.amounts, known, "semi")
    used = _joined(kept, simulated, "anti"), _joined(then.amounts, simulated, "anti")
    rehearsed = _joined(kept, simulated, "semi"), _joined(then.amounts, simulated, "semi")
    names = [_products(catalog) for catalog in catalogs]
    rows = [
        {
            "subscription_id": row["subscription_id"],
            "product_now": names[0].get(row["subscription_id"]),
            "product_then": names[1].get(row["subscription_id"]),
            **row,
        }
        for row in _differences(*used, ["subscription_id", "currency"])
    ]
    return Comparison(
        begin,
        end,
        rows,
        _differences(*used, ["product_id", "currency"]),
        _differences(*used, ["currency"]),
        _differences(*rehearsed, ["subscription_id", "currency"]),
        absent.group_by("subscription_id", "currency")
        .agg(now=pl.col("amount").sum())
        .sort("subscription_id")
        .to_dicts(),
        [
            {"subscription_id": name, "product_now": product, "product_then": names[1][name]}
            for name, product in sorted(names[0].items())
            if name in names[1] and names[1][name] != product
        ],
        (now.whole, then.whole),
        (now.cut, then.cut),
    )


def _joined(amounts: pl.DataFrame, named: pl.DataFrame, how: Literal["semi", "anti"]) -> pl.DataFrame:
    return amounts.join(named, on="subscription_id", how=how)


def _differences(now: pl.DataFrame, then: pl.DataFrame, keys: list[str]) -> list[Row]:
    """Per key the amount of both sides, 0 where one has none, and their difference."""
    sums = [side.group_by(keys).agg(pl.col("amount").sum()) for side in (now, then)]
    both = (
        sums[0].rename({"amount": "now"}).join(sums[1].rename({"amount": "then"}), on=keys, how="full", coalesce=True)
    )
    none = pl.lit(Decimal(0)).cast(now.schema["amount"])
    filled = both.with_columns(pl.col("now", "then").fill_null(none))
    return filled.with_columns(difference=pl.col("then") - pl.col("now")).sort(keys).to_dicts()


def _products(catalog: CompiledCatalog) -> dict[str, str]:
    products = catalog.products
    references = [f"{name}@{version}" for name, version in zip(products.ids, products.versions, strict=True)]
    ids = catalog.subscriptions.ids.to_list()
    return {name: references[row] for name, row in zip(ids, catalog.subscriptions.product.tolist(), strict=True)}
