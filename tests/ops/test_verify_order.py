"""The order in which events were rated is found from the rows; where it is not, totals are compared."""

from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from dataflows.verification.order import rating_order
from dataflows.verification.totals import without_equal_totals
from schemas.ledger import EVENTS, LINE_ITEMS, polars_schema


def _row(schema: pa.Schema, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(schema.names) | values


def test_the_order_of_a_key_group_is_found_from_its_lines():
    """Two partitions, of which one key group rated the second first: its lines begin where the others ended."""
    events = pl.DataFrame(
        [
            _row(EVENTS, partition=partition, offset=offset, source="s", event_id=f"{partition}-{offset}", key_group=1,
                 verdict="rated")
            for partition, offset in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
    )  # fmt: skip
    steps = {(1, 0): (0, 5), (0, 0): (5, 6), (1, 1): (6, 9), (0, 1): (9, 10)}
    lines = pl.DataFrame(
        [
            _row(LINE_ITEMS, partition=partition, offset=offset, line_kind="usage", subscription_id="a", charge_id="c",
                 period_start=1, usage_before=steps[partition, offset][0], usage_after=steps[partition, offset][1])
            for partition, offset in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
    )  # fmt: skip
    order = rating_order(events, lines)
    assert order.rows.tolist() == [2, 0, 3, 1]
    assert not order.unordered
    broken = lines.with_columns(usage_before=pl.col("usage_before") + pl.col("offset"))
    assert rating_order(events, broken).unordered == {1}


def test_batches_of_one_partition_that_stand_in_another_order_are_taken_in_that_of_the_log():
    """Key group 1 has rated offsets 0 and 3; its rows stand with the batches of key group 2, which came first."""
    stored = ((1, 3), (2, 4), (2, 1), (1, 0))
    events = pl.DataFrame(
        [_row(EVENTS, partition=0, offset=offset, key_group=group, verdict="rated") for group, offset in stored]
    )
    order = rating_order(events, pl.DataFrame(schema=LINE_ITEMS.names))
    assert [stored[row] for row in order.rows.tolist()] == [(1, 0), (2, 1), (2, 4), (1, 3)]


def test_lines_of_unknown_order_are_compared_by_their_totals():
    schema = polars_schema(LINE_ITEMS)

    def line(offset: int, before: int, amount: str) -> dict[str, Any]:
        numbers = {"usage_before": before, "usage_after": before + 1, "quantity": 1}
        decimals = {name: Decimal(value) for name, value in numbers.items()}
        money = {"unit_price": Decimal(amount), "amount": Decimal(amount)}
        names = {"line_id": f"0-{offset}-0", "line_kind": "usage", "subscription_id": "a", "charge_id": "c"}
        return _row(LINE_ITEMS, partition=0, offset=offset, **names, **decimals, **money)

    def table(*rows: dict[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(rows, schema=schema)

    stored, computed = table(line(0, 0, "0.1"), line(1, 1, "0.2")), table(line(0, 1, "0.2"), line(1, 0, "0.1"))
    left, others, equal = without_equal_totals(stored, computed, pl.Series(["a"]))
    assert (left.height, others.height, equal) == (0, 0, 2)
    changed = table(line(0, 0, "0.1"), line(1, 1, "0.3"))
    assert without_equal_totals(changed, computed, pl.Series(["a"]))[2] == 0
    assert without_equal_totals(stored, computed, pl.Series(["b"]))[2] == 0
