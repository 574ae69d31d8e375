"""The bare core: decode, admit and rate called one after the other, without a flow."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl

from dataflows.steps.decode import decode
from rating.batch import key_group_of
from rating.catalog import CompiledCatalog
from rating.engine import GroupState, LaneState, RatingSettings, Share, admit, assemble, rate
from rating.engine import Rated as RatedShare
from rating.set_back import BlockedQuotas
from tests.oracle.pricing import Line
from tests.oracle.rated import Notice, Rated, RatedLine, Standing

RawRecord = tuple[int, bytes, datetime | None]
Batch = tuple[int, int, Sequence[RawRecord]]
_MICROSECOND = timedelta(microseconds=1)


class Core:
    """The states of all lanes and key groups; `through_bytes` snapshots and loads every state between any two steps."""

    def __init__(self, catalog: CompiledCatalog, settings: RatingSettings, through_bytes: bool = False) -> None:
        self.catalog, self.settings, self.through_bytes = catalog, settings, through_bytes
        self.lanes: dict[int, LaneState] = {}
        self.groups: dict[int, GroupState] = {}
        self.events: list[pl.DataFrame] = []
        self.lines: list[pl.DataFrame] = []
        self.notifications: list[pl.DataFrame] = []
        self.quota_verdicts: list[pl.DataFrame] = []
        self.blocked = BlockedQuotas()

    def take(self, batch: Batch) -> None:
        """Rates one batch: consecutive records of one partition from an offset."""
        partition, first_offset, records = batch
        times = [record[2] for record in records]
        logged = None if None in times else np.array([_micros(time) for time in times], dtype=np.int64)
        offsets = np.arange(first_offset, first_offset + len(records), dtype=np.int64)
        decoded = decode([record[1] for record in records], partition, offsets, self.catalog, logged)
        lane = self.lanes.get(partition) or LaneState.new()
        self.lanes[partition], admitted = admit(self._lane(lane), decoded, self.catalog, self.settings)
        self.events.append(admitted.settled)
        outcome = assemble([self._rate(number, share) for number, share in admitted.shares], self.catalog)
        self.events.append(outcome.events)
        self.lines.append(outcome.line_items)
        self.notifications.append(outcome.notifications)
        if self.through_bytes and self.quota_verdicts:
            self.blocked = BlockedQuotas.after(pl.concat(self.quota_verdicts))
        self.quota_verdicts.append(self.blocked.take(outcome.quota_verdicts))
        self.quota_verdicts.append(self.blocked.set_back(partition, self.lanes[partition].latest_time))

    def _rate(self, number: int, share: Share) -> RatedShare:
        group = self.groups.get(number) or GroupState.new(number, self.settings.lateness)
        self.groups[number], rated = rate(self._group(group, number), share, self.catalog, self.settings)
        return rated

    def _lane(self, lane: LaneState) -> LaneState:
        return LaneState.load(lane.snapshot()) if self.through_bytes else lane

    def _group(self, group: GroupState, number: int) -> GroupState:
        if not self.through_bytes:
            return group
        loaded = GroupState.load(group.snapshot(self.catalog), self.catalog, self.settings.lateness)
        loaded.remember(self.remembered(number))
        return loaded

    def remembered(self, number: int) -> pl.DataFrame:
        """The ledger's events from which the key group's duplicate index is rebuilt."""
        events = pl.concat(self.events)
        groups = [
            subscription is not None and key_group_of(subscription, self.settings.key_groups) == number
            for subscription in events["subscription_id"].to_list()
        ]
        return events.filter(pl.Series(groups, dtype=pl.Boolean))

    def rated(self) -> dict[tuple[int, int], Rated]:
        """What became of each record, by its partition and offset."""
        tables = (
            pl.concat(rows) if rows else pl.DataFrame()
            for rows in (self.lines, self.notifications, self.quota_verdicts)
        )
        return read_ledger(pl.concat(self.events), *tables)


def read_ledger(
    events: pl.DataFrame, lines: pl.DataFrame, notifications: pl.DataFrame, quota_verdicts: pl.DataFrame
) -> dict[tuple[int, int], Rated]:
    """Ledger rows as the oracle writes them; a record with two event rows is an error, and a notice with two."""
    notices = defaultdict(list)
    for row in notifications.filter(pl.col("threshold").is_not_null()).iter_rows(named=True):
        notices[row["partition"], row["offset"]].append(_notice(row))
    told = notifications.select("notification_id", "partition")
    assert told.is_empty() or told.is_unique().all(), "two notices of one input have one id"
    by_record = defaultdict(list)
    for row in lines.iter_rows(named=True):
        by_record[row["partition"], row["offset"]].append((int(row["line_id"].rpartition("-")[2]), row))
    standings = defaultdict(list)
    for row in quota_verdicts.iter_rows(named=True):
        if row["cause"] == "usage":
            standings[row["partition"], row["offset"]].append(_standing(row))
    assert_set_back(quota_verdicts)
    found: dict[tuple[int, int], Rated] = {}
    for row in events.iter_rows(named=True):
        key = row["partition"], row["offset"]
        assert key not in found, f"record {key} has two verdicts"
        numbered = sorted(by_record.pop(key, []), key=lambda pair: pair[0])
        assert [number for number, _ in numbered] == list(range(len(numbered))), f"line ids of {key} are not in order"
        rated = tuple(_rated_line(line) for _, line in numbered)
        said = tuple(notices.pop(key, ())), tuple(standings.pop(key, ()))
        found[key] = Rated(row["verdict"], row["reason"], row["subscription_id"], rated, *said)
    assert not by_record, f"lines without an event: {list(by_record)}"
    assert not notices, f"notices without an event: {list(notices)}"
    assert not standings, f"verdicts of quotas without an event: {list(standings)}"
    return found


def _rated_line(row: dict[str, Any]) -> RatedLine:
    quantity, price, before, after = (
        Fraction(row[name]) for name in ("quantity", "unit_price", "usage_before", "usage_after")
    )
    line = Line(row["line_kind"], row["tier"], quantity, before, after, price)
    assert line.amount == Fraction(row["amount"]), f"{row['line_id']}: quantity * unit price is not the amount"
    return RatedLine(row["charge_id"], line, row["period_start"], row["period_end"])


def assert_set_back(quota_verdicts: pl.DataFrame) -> None:
    """Nothing is blocked in two windows on end: between them stands exactly one row that sets it back."""
    blocked: dict[tuple[str, str], dict[str, Any]] = {}
    for row in quota_verdicts.iter_rows(named=True):
        key = row["subscription_id"], row["quota"]
        held = blocked.pop(key, None)
        if row["cause"] == "window_end":
            assert held is not None and held["window_end"] == row["occurred_at"], f"{key} was not blocked: {row}"
        else:
            assert held is None or held["window_start"] == row["window_start"], f"{key} was not set back: {row}"
        if row["verdict"] == "blocked":
            blocked[key] = row


def _standing(row: dict[str, Any]) -> Standing:
    usage, remaining = Fraction(row["usage"]), Fraction(row["remaining"])
    assert remaining == max(Fraction(row["limit"]) - usage, 0), row
    return Standing(row["quota"], row["verdict"], usage, remaining, (row["window_start"], row["window_end"]))


def _notice(row: dict[str, Any]) -> Notice:
    numbers = [Fraction(row[name]) for name in ("share", "threshold", "limit", "usage_before", "usage_after")]
    window = row["window_start"], row["window_end"]
    of = row["charge_id"] if row["quota"] is None else row["quota"]
    told = tuple(row["recipients"])
    return Notice(row["kind"], of, row["tier"], *numbers[:3], (numbers[3], numbers[4]), window, told)


def batches(records: Iterable[RawRecord], sizes: Iterator[int]) -> Iterator[Batch]:
    """Cuts records into batches of one partition each, of at most the sizes given, keeping their order."""
    offsets: dict[int, int] = defaultdict(int)
    batch: list[RawRecord] = []
    size = next(sizes)
    for record in records:
        if batch and (len(batch) >= size or batch[0][0] != record[0]):
            yield _batch(batch, offsets)
            batch, size = [], next(sizes)
        batch.append(record)
    if batch:
        yield _batch(batch, offsets)


def _batch(records: list[RawRecord], offsets: dict[int, int]) -> Batch:
    partition = records[0][0]
    first = offsets[partition]
    offsets[partition] += len(records)
    return partition, first, records


def in_order(records: Iterable[RawRecord], rated: dict[tuple[int, int], Rated]) -> list[Rated]:
    """What became of the records, one for each in their order."""
    offsets: dict[int, int] = defaultdict(int)
    found = []
    for partition, _, _ in records:
        found.append(rated.pop((partition, offsets[partition])))
        offsets[partition] += 1
    assert not rated, f"verdicts without a record: {list(rated)}"
    return found


def _micros(time: datetime) -> int:
    return (time - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // _MICROSECOND
