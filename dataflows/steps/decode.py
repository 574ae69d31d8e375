"""Records to a table: a fast path for all plain records of a batch, and an exact one for each that is not plain.

Records of another format are translated one by one, and then take the same paths as what was sent as CloudEvents.

The fast path takes a record only where its values are certain (`scan`, `values`); so what becomes of a record never
depends on its neighbours, and a good record never pays for a bad one.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import xxhash

from dataflows.steps.exact import decode_exactly
from dataflows.steps.formats import translated
from dataflows.steps.lines import after_last_line, count_lines
from dataflows.steps.scan import ABSENT, BLANK, UNUSUAL, USUAL, Names, Places, Scanned, scan
from dataflows.steps.values import (
    BEYOND_ASCII,
    CONTROL,
    ESCAPE,
    NO_TIME,
    drop_nulls,
    flags_of,
    mark_bytes,
    mark_wrong_escapes,
    odd_bytes,
    text_series,
    times_of,
    unquote,
)
from rating.batch import DECODED_COLUMNS, DecodedBatch
from rating.catalog import CompiledCatalog
from rating.foreign import ForeignSource
from rating.hashing import hash_pieces
from rating.texts import Bytes
from schemas.events import (
    ATTRIBUTE_LENGTH_LIMIT,
    ELEMENTS_LIMIT,
    EMPTY_DATA,
    IDENTITY_ATTRIBUTES,
    OWNER_ATTRIBUTES,
    RECORD_BYTES_LIMIT,
)

_STRINGS = (*IDENTITY_ATTRIBUTES, *OWNER_ATTRIBUTES)
_ATTRIBUTES = (*_STRINGS, "time", "synthetic", "data")
_COLUMN_OF = {
    "id": "event_id",
    "source": "source",
    "subscription": "subscription_id",
    "credential": "credential_id",
    "subscriber": "subscriber",
    "organization": "organization_id",
}
_EMPTY = bytes(EMPTY_DATA)
_EMPTY_DIGEST = np.uint64(xxhash.xxh64_intdigest(_EMPTY))
_ODD = np.zeros(256, np.uint8)
_ODD[:0x20], _ODD[0x80:] = CONTROL, BEYOND_ASCII
_ODD[ord("\n")], _ODD[ord("\\")] = 0, ESCAPE
# What stands for a record with a line feed inside, which is looked at by itself.
_NOT_ONE_LINE = b"?"
_LINE_FEED = np.uint8(ord("\n"))

_Table: TypeAlias = tuple[pl.DataFrame, dict[str, pl.Series]]


def decode_chunk(chunk: bytes | Bytes, partition: int, first_line: int, catalog: CompiledCatalog) -> DecodedBatch:
    """Decodes whole NDJSON lines of a file; offsets are line numbers, blank lines have one but are no records.

    The batch keeps the chunk alive, and points into it.
    """
    text = np.frombuffer(chunk, np.uint8)
    if after_last_line(text) < len(text):
        text = np.append(text, _LINE_FEED)
    # As what comes from bytes is, so that every loop is compiled for one kind of text only.
    text.flags.writeable = False
    scanned = scan(text, _names(catalog.elements))
    lines = len(scanned.kinds)
    kept = np.flatnonzero(scanned.kinds != BLANK)
    if len(kept) < lines:
        scanned = _rows(scanned, kept)
    starts, ends = scanned.starts, scanned.ends
    return _batch(
        text,
        scanned,
        lambda row: text[starts[row] : ends[row]].tobytes(),
        (partition, kept + first_line, first_line + lines),
        catalog,
        None,
    )


def decode(
    records: Sequence[bytes],
    partition: int,
    offsets: npt.NDArray[np.int64],
    catalog: CompiledCatalog,
    record_times: npt.NDArray[np.int64] | None = None,
) -> DecodedBatch:
    """Decodes consecutive records of a partition, given as bytes with their offsets and, from a log, their times."""
    text, scanned = _scanned(records, catalog.elements)
    next_offset = int(offsets[-1]) + 1 if len(offsets) else 0
    return _batch(text, scanned, records.__getitem__, (partition, offsets, next_offset), catalog, record_times)


def _scanned(records: Sequence[bytes], elements: tuple[str, ...]) -> tuple[Bytes, Scanned]:
    text = _lines(chain(records, [b""]))
    if count_lines(text) != len(records):
        text = _lines([*(_NOT_ONE_LINE if b"\n" in record else record for record in records), b""])
    return text, scan(text, _names(elements))


def _lines(records: Iterable[bytes]) -> Bytes:
    return np.frombuffer(b"\n".join(records), np.uint8)


@lru_cache(maxsize=64)
def _names(elements: tuple[str, ...]) -> Names:
    return Names.of(_ATTRIBUTES, tuple(dict.fromkeys(name.partition(".")[0] for name in elements)), "data")


def _rows(scanned: Scanned, rows: npt.NDArray[np.int64]) -> Scanned:
    return Scanned._make(np.ascontiguousarray(column[..., rows]) for column in scanned)


def _batch(
    text: Bytes,
    scanned: Scanned,
    record_at: Callable[[int], bytes],
    place: tuple[int, npt.NDArray[np.int64], int],
    catalog: CompiledCatalog,
    record_times: npt.NDArray[np.int64] | None,
) -> DecodedBatch:
    partition, offsets, next_offset = place
    columns, texts = _table(text, scanned, record_at, catalog.elements, catalog.foreign)
    events = columns.insert_column(0, pl.Series("offset", offsets)).select(DECODED_COLUMNS.names())
    return DecodedBatch(partition, next_offset, events, texts, record_times)


def _table(
    text: Bytes,
    scanned: Scanned,
    record_at: Callable[[int], bytes],
    elements: tuple[str, ...],
    foreign: tuple[ForeignSource, ...],
) -> _Table:
    """One row per record: the columns of `DECODED_COLUMNS` without the offset, and the JSON texts of the elements."""
    _doubt(text, scanned)
    # What was found of a record that is not plain may be half a value.
    scanned.first[:, scanned.kinds != USUAL] = ABSENT
    columns = _columns(text, scanned)
    table = columns, _element_texts(text, scanned, len(_ATTRIBUTES), elements, scanned.kinds)
    unusual = np.flatnonzero(scanned.kinds != USUAL)
    if foreign and len(unusual):
        rows, others = _sound_foreign(unusual, record_at, elements, foreign)
        table = _replaced(table, others, rows)
        unusual = np.setdiff1d(unusual, rows)
    if len(unusual):
        exact = decode_exactly([record_at(row) for row in unusual.tolist()], elements, foreign)
        table = _replaced(table, (exact.columns, exact.elements.to_dict()), unusual)
    return table


def _sound_foreign(
    rows: npt.NDArray[np.int64],
    record_at: Callable[[int], bytes],
    elements: tuple[str, ...],
    foreign: tuple[ForeignSource, ...],
) -> tuple[npt.NDArray[np.int64], _Table]:
    """Of these rows those that a foreign source claims and that are sound events, and their table."""
    found = [(row, one.record) for row in rows.tolist() if (one := translated(record_at(row), foreign)) is not None]
    records = [record for _, record in found]
    text, scanned = _scanned(records, elements)
    columns, texts = _table(text, scanned, records.__getitem__, elements, ())
    sound = columns["reason"].is_null()
    kept = np.array([row for row, _ in found], np.int64)[sound.to_numpy()]
    return kept, (columns.filter(sound), {name: column.filter(sound) for name, column in texts.items()})


def _doubt(text: Bytes, scanned: Scanned) -> None:
    """Leaves to the exact decoder what is too long, may not be UTF-8, or holds bytes that JSON does not allow."""
    kinds = scanned.kinds
    kinds[scanned.ends - scanned.starts > RECORD_BYTES_LIMIT] = UNUSUAL
    kinds[scanned.members > ELEMENTS_LIMIT] = UNUSUAL
    odd = odd_bytes(text, _ODD)
    if odd & BEYOND_ASCII and not _is_utf8(text):
        mark_bytes(text, scanned.starts, scanned.ends, BEYOND_ASCII, _ODD, kinds)
    if odd & ESCAPE:
        mark_wrong_escapes(text, scanned.starts, scanned.ends, kinds)
    if odd & CONTROL:
        mark_bytes(text, scanned.starts, scanned.ends, CONTROL, _ODD, kinds)


def _is_utf8(text: Bytes) -> bool:
    try:
        text.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def _columns(text: Bytes, scanned: Scanned) -> pl.DataFrame:
    """The columns of `DECODED_COLUMNS`, but for the offset; rows whose values are not plain become UNUSUAL."""
    kinds = scanned.kinds
    place = {name: (scanned.first[number], scanned.behind[number]) for number, name in enumerate(_ATTRIBUTES)}
    for name in _STRINGS:
        unquote(text, *place[name], name in IDENTITY_ATTRIBUTES, ATTRIBUTE_LENGTH_LIMIT, kinds)
    place["subscription"] = _owners(place, kinds)
    drop_nulls(text, place["data"][0], True, kinds)
    times = pl.Series("event_time", times_of(text, *place["time"], kinds))
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(kinds))
    return pl.DataFrame(
        [
            *(text_series(column, text, *place[name]) for name, column in _COLUMN_OF.items()),
            times.set(times == NO_TIME, None),
            pl.Series("synthetic", flags_of(text, place["synthetic"][0], kinds)),
            nothing.alias("reason"),
            nothing.alias("reason_detail"),
            pl.Series("content_digest", hash_pieces(text, *place["data"], _EMPTY_DIGEST)),
            text_series("data", text, *place["data"]).fill_null(_EMPTY.decode()),
        ]
    )


def _owners(place: dict[str, tuple[Places, Places]], kinds: npt.NDArray[np.uint8]) -> tuple[Places, Places]:
    """Where no subscription is stated, the subject is one; a record that names nobody at all is not plain."""
    first, behind = place["subscription"]
    unstated = first == ABSENT
    if unstated.any():
        subject, behind_subject = place["subject"]
        first, behind = np.where(unstated, subject, first), np.where(unstated, behind_subject, behind)
        nobody = np.all([place[name][0] == ABSENT for name in OWNER_ATTRIBUTES], axis=0)
        kinds[nobody] = UNUSUAL
    return first, behind


def _element_texts(
    text: Bytes, scanned: Scanned, number: int, names: tuple[str, ...], kinds: npt.NDArray[np.uint8]
) -> dict[str, pl.Series]:
    """One String column of JSON texts per name, null where absent; the places of their tops begin at `number`.

    A dotted name reaches into nested objects: `a.b` is the member `b` of the object `a`.
    """
    texts = {}
    for top in dict.fromkeys(name.partition(".")[0] for name in names):
        first, behind = scanned.first[number], scanned.behind[number]
        number += 1
        drop_nulls(text, first, False, kinds)
        column = text_series(top, text, first, behind)
        if top in names:
            texts[top] = column
        inner = tuple(name.partition(".")[2] for name in names if name.startswith(f"{top}."))
        if inner:
            texts |= {f"{top}.{name}": inside for name, inside in _inner_texts(column, inner, kinds).items()}
    return texts


def _inner_texts(column: pl.Series, names: tuple[str, ...], kinds: npt.NDArray[np.uint8]) -> dict[str, pl.Series]:
    """The named members of the objects in a column of JSON texts."""
    objects = [text if text is not None and text.startswith("{") else "{}" for text in column.to_list()]
    text = np.frombuffer("\n".join([*objects, ""]).encode(), np.uint8)
    tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    scanned = scan(text, Names.of(tops, (), None))
    kinds[scanned.kinds != USUAL] = UNUSUAL
    scanned.first[:, scanned.kinds != USUAL] = ABSENT
    return _element_texts(text, scanned, 0, names, kinds)


def _replaced(table: _Table, others: _Table, rows: npt.NDArray[np.int64]) -> _Table:
    """The table with these rows replaced by others."""
    columns, texts = table
    order = np.arange(len(columns))
    order[rows] = len(columns) + np.arange(len(rows))
    return (
        pl.concat([columns, others[0].select(columns.columns)])[order],
        {name: pl.concat([column, others[1][name]])[order] for name, column in texts.items()},
    )
