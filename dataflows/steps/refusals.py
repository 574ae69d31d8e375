"""Records that are no events: how they stand in the decoded table, so that nothing of them is lost."""

from collections.abc import Callable, Mapping

import msgspec
import polars as pl
import xxhash

from schemas.events import Refused


def mark_refused(
    frame: pl.DataFrame, refused: Mapping[int, Refused], record_at: Callable[[int], bytes]
) -> pl.DataFrame:
    """The decoded table with the reasons of these rows, what could be read of them, and the whole record as data."""
    rows, faults = list(refused), list(refused.values())
    came = [record_at(row) for row in rows]
    texts: dict[str, list[str | None]] = {
        "source": [fault.readable.source or None for fault in faults],
        "event_id": [fault.readable.id or None for fault in faults],
        "reason": [fault.reason.value for fault in faults],
        "reason_detail": [fault.detail for fault in faults],
        "data": [_as_came(record) for record in came],
    }
    digests = pl.Series([xxhash.xxh3_64_intdigest(record) for record in came], dtype=pl.UInt64)
    return frame.with_columns(
        *(frame[name].clone().scatter(rows, pl.Series(values, dtype=pl.String)) for name, values in texts.items()),
        frame["content_digest"].clone().scatter(rows, digests),
        pl.when(~pl.int_range(pl.len()).is_in(rows)).then(pl.col("event_time")).alias("event_time"),
    )


def _as_came(record: bytes) -> str:
    """The record as JSON text, so that nothing of it is lost: {"record"}, or {"record_hex"} where it is not UTF-8."""
    try:
        return msgspec.json.encode({"record": record.decode()}).decode()
    except UnicodeDecodeError:
        return msgspec.json.encode({"record_hex": record.hex()}).decode()
