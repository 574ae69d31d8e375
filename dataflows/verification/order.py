"""The order in which key groups rated events, found from rows of the ledger (docs/decisions/0030-verify.md).

Rows of a commit stand in the order of rating, except that shares of one batch stand together: a key group may have
rated batches in another order than its neighbours. Of one partition, it has rated them in the order of the log. Of
several, the lines tell: each begins at the usage at which the one before it ended.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from rating.prices import Index

_OF_USAGE = ("usage", "trial", "blocked")
_COUNTER = ["subscription_id", "charge_id", "period_start", "trial"]
_ACCEPTED = ("rated", "exempt", "trial", "blocked")

Counter = tuple[Any, ...]
Identity = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """`rows` of the events in the order of rating; `unordered` are key groups of which no order explains the lines."""

    rows: Index
    unordered: frozenset[int]


def rating_order(events: pl.DataFrame, lines: pl.DataFrame) -> FoundOrder:
    """The order of these events, which have a column `key_group`; they and their lines are all those of a commit."""
    order = _in_log_order(events)
    if events["partition"].n_unique() <= 1:
        return FoundOrder(order, frozenset())
    ordered = events[pl.Series(order.astype(np.uint32))]
    pairs = _pairs(ordered, lines)
    unordered = set()
    found_order = order.copy()
    for group in sorted(_broken_chains(pairs) | _early_repeats(ordered)):
        rows = ordered["key_group"].eq(group).arg_true().to_numpy().astype(np.int64)
        found = _chained(ordered, rows, pairs.filter(pl.col("key_group") == group))
        if found is None:
            unordered.add(group)
        else:
            found_order[rows] = order[found]
    return FoundOrder(found_order, frozenset(unordered))


def _in_log_order(events: pl.DataFrame) -> Index:
    """The rows as they are stored, those of a key group and partition among themselves in the order of offsets."""
    placed = events.select("key_group", "partition", "offset").with_row_index("row")
    order = np.arange(events.height)
    own = ["key_group", "partition"]
    order[placed.sort([*own, "row"])["row"].to_numpy()] = placed.sort([*own, "offset"])["row"].to_numpy()
    return order


def _pairs(events: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """One row per event and counter, in the order of the rows: the usage `before` and `after`."""
    places = events.select("partition", "offset", "key_group").with_row_index("row")
    return (
        lines.filter(pl.col("line_kind").is_in(_OF_USAGE))
        .with_columns(trial=pl.col("line_kind") == "trial")
        .join(places, on=["partition", "offset"], how="inner", maintain_order="left")
        .group_by("row", "key_group", *_COUNTER, maintain_order=True)
        .agg(before=pl.col("usage_before").first(), after=pl.col("usage_after").last())
        .sort("row", maintain_order=True)
    )


def _broken_chains(pairs: pl.DataFrame) -> set[int]:
    ended = pl.col("after").shift(1).over(_COUNTER)
    return set(pairs.filter(ended.is_not_null() & (ended != pl.col("before")))["key_group"].to_list())


def _early_repeats(events: pl.DataFrame) -> set[int]:
    """Key groups in which a duplicate stands before the event that it repeats."""
    rows = events.select("source", "event_id", "verdict", "key_group").with_row_index("row")
    first = rows.filter(pl.col("verdict").is_in(_ACCEPTED))
    repeats = rows.filter(pl.col("verdict") == "duplicate")
    both = repeats.join(first, on=["source", "event_id", "key_group"], suffix="_first")
    return set(both.filter(pl.col("row") < pl.col("row_first"))["key_group"].to_list())


def _chained(events: pl.DataFrame, rows: Index, pairs: pl.DataFrame) -> list[int] | None:
    """The rows in an order in which every line begins where the one before it ended; None if none was found."""
    steps: defaultdict[int, list[tuple[Counter, Any, Any]]] = defaultdict(list)
    for pair in pairs.iter_rows(named=True):
        steps[pair["row"]].append((tuple(pair[name] for name in _COUNTER), pair["before"], pair["after"]))
    usage = _beginnings(pairs)
    told = events.select("partition", "source", "event_id", "verdict")
    queues: defaultdict[int, deque[int]] = defaultdict(deque)
    waiting: set[Identity] = set()
    facts: dict[int, tuple[Identity, str]] = {}
    for row, fact in zip(rows.tolist(), told[rows].iter_rows(), strict=True):
        queues[fact[0]].append(row)
        facts[row] = fact[1:3], fact[3]
        if fact[3] in _ACCEPTED:
            waiting.add(fact[1:3])
    found: list[int] = []
    while len(found) < len(rows):
        heads = [
            queue[0]
            for queue in queues.values()
            if queue
            and all(usage[counter] == before for counter, before, _ in steps[queue[0]])
            and not (facts[queue[0]][1] == "duplicate" and facts[queue[0]][0] in waiting)
        ]
        if not heads:
            return None
        row = min(heads)
        queues[told["partition"][row]].popleft()
        waiting.discard(facts[row][0])
        usage.update({counter: after for counter, _, after in steps[row]})
        found.append(row)
    return found


def _beginnings(pairs: pl.DataFrame) -> dict[Counter, Any]:
    """Where the usage of each counter stood before these pairs: at the beginning that no other pair ends at."""
    found: dict[Counter, Any] = {}
    for counter, own in pairs.group_by(_COUNTER, maintain_order=True):
        moving = own.filter(pl.col("before") != pl.col("after"))
        alone = [value for value in moving["before"].to_list() if value not in set(moving["after"].to_list())]
        found[counter] = alone[0] if alone else own["before"][0]
    return found
