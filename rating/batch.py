"""A batch of decoded records: the table that the rating core takes, and the key groups it is split into.

`DecodedBatch.events` has one row per record in the order of the log, columns as in `DECODED_COLUMNS`; a record that is
no event has its reason in `reason` and nulls elsewhere. `elements` holds, per element that the catalog needs, its JSON
text as it was written, null where the event has no such element or it is JSON's null.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

DECODED_COLUMNS = pl.Schema(
    {
        "offset": pl.Int64,
        "source": pl.String,
        "event_id": pl.String,
        "event_time": pl.Int64,
        "subscription_id": pl.String,
        "credential_id": pl.String,
        "subscriber": pl.String,
        "organization_id": pl.String,
        "synthetic": pl.Boolean,
        "reason": pl.String,
        "reason_detail": pl.String,
        "content_digest": pl.UInt64,
        "data": pl.String,
    }
)


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """Consecutive records of one input partition, decoded.

    `event_time` is in microseconds UTC, null where the record states none. `record_times` (int64 microseconds, one per
    row) are the log's own; None for files, which have none.
    """

    partition: int
    next_offset: int
    events: pl.DataFrame
    elements: dict[str, pl.Series]
    record_times: npt.NDArray[np.int64] | None = None

    @classmethod
    def joined(cls, batches: "Sequence[DecodedBatch]") -> "DecodedBatch":
        """One batch of several that follow each other in one partition, all decoded for the same catalog."""
        if len(batches) == 1:
            return batches[0]
        last = batches[-1]
        times = [batch.record_times for batch in batches if batch.record_times is not None]
        assert len(times) in (0, len(batches)), "either all batches have record times or none"
        return cls(
            last.partition,
            last.next_offset,
            pl.concat([batch.events for batch in batches], rechunk=True),
            {name: pl.concat([batch.elements[name] for batch in batches], rechunk=True) for name in last.elements},
            np.concatenate(times) if times else None,
        )


def key_group_of(subscription_id: str, key_groups: int) -> int:
    """The key group of a subscription: the CRC-32 of its id, so that it never changes with a library's version.

    >>> key_group_of("sub-acme-1", 16)
    15
    """
    return zlib.crc32(subscription_id.encode()) % key_groups
