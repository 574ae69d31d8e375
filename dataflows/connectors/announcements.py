"""What every writer of the ledger is told of each batch: how much of it comes to it, and how far its input is read."""

from dataclasses import dataclass

import polars as pl

from dataflows.items import EpochEnds, Finished, Idle
from dataflows.ledger.commit import LanePosition
from rating.batch import key_group_of
from rating.engine import Admitted
from rating.resolve import NONE_YET


@dataclass(frozen=True, slots=True)
class Announcement:
    """So many records of an input come to this writer, and the input has been read up to `position`.

    `first_time` is the input's progress at the first of them, in microseconds; None if unknown. `settled` are those of
    them whose verdict needed no rating, as rows of `events`; `notifications` tell what they brought to light; `catalog`
    is the digest of the catalog in effect.
    """

    partition: int
    position: LanePosition
    received: int
    catalog: str
    first_time: int | None = None
    settled: pl.DataFrame | None = None
    notifications: pl.DataFrame | None = None


def announcements(
    item: Admitted | Finished | Idle | EpochEnds, writers: int, key_groups: int
) -> list[tuple[str, Announcement]]:
    """What each writer must know of a batch: every writer hears of every batch, so that its commits keep coming."""
    if isinstance(item, EpochEnds):
        return []
    if not isinstance(item, Admitted):
        position = (
            LanePosition(item.next_offset, item.record_time, finished=True)
            if isinstance(item, Finished)
            else LanePosition(item.next_offset, item.moment)
        )
        return [
            (writer_name(writer), Announcement(item.partition, position, 0, item.catalog)) for writer in range(writers)
        ]
    position = LanePosition(item.next_offset, None if item.record_time == NONE_YET else item.record_time)
    received = [0] * writers
    for key_group, share in item.shares:
        received[key_group % writers] += share.height
    own = item.partition % writers
    received[own] += item.settled.height
    notifications = _by_writer(item.notifications, own, writers, key_groups)
    return [
        (
            writer_name(writer),
            Announcement(
                item.partition,
                position,
                count,
                item.catalog,
                None if item.first_time == NONE_YET else item.first_time,
                item.settled if writer == own and item.settled.height else None,
                notifications.get(writer),
            ),
        )
        for writer, count in enumerate(received)
    ]


def _by_writer(notifications: pl.DataFrame, otherwise: int, writers: int, key_groups: int) -> dict[int, pl.DataFrame]:
    """Each notification with the writer of its subscription, so that one's notifications keep their order."""
    if notifications.is_empty():
        return {}
    places: dict[int, list[int]] = {}
    for place, name in enumerate(notifications["subscription_id"]):
        writer = otherwise if name is None else key_group_of(name, key_groups) % writers
        places.setdefault(writer, []).append(place)
    return {writer: notifications[rows] for writer, rows in places.items()}


def writer_name(writer: int) -> str:
    """The name of a writer in the recovery state; sorts as the numbers do."""
    return f"writer-{writer:02d}"
