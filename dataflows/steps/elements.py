"""The elements of events: from the raw `data` of a batch to one column of JSON texts per element that is asked for."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

_ABSENT = msgspec.Raw(b"")
_NULL = "null"
_FEW = 64
_EMPTY_OBJECT = msgspec.Raw(b"{}")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_elements(data: Sequence[msgspec.Raw], names: tuple[str, ...]) -> tuple[dict[str, pl.Series], list[int]]:
    """One String column of JSON texts per name, null where absent; and the rows whose data is no readable object.

    A dotted name reaches into nested objects: `a.b` is the member `b` of the object `a`.
    """
    tops = tuple(dict.fromkeys(name.partition(".")[0] for name in names))
    many, one = _decoders(tops)
    wrong: list[int] = []
    objects = _decoded(many, data)
    if objects is None:
        objects = []
        for start in range(0, len(data), _FEW):
            few = data[start : start + _FEW]
            objects += _decoded(many, few) or [
                _decode_or_note(one, raw, row, wrong) for row, raw in enumerate(few, start)
            ]
    columns: dict[str, pl.Series] = {}
    for index, top in enumerate(tops):
        raws = list(map(attrgetter(f"f{index}"), objects))
        if top in names:
            columns[top] = _json_texts(raws)
        columns.update(_nested(raws, top, names))
    return columns, wrong


@lru_cache(maxsize=64)
def _decoders(names: tuple[str, ...]) -> tuple[Callable[[bytes], list[Any]], Callable[[Any], Any]]:
    """Decoders of a JSON array of objects, and of one object, into structs with only the fields `f0, f1, ...`."""
    fields = [(f"f{index}", msgspec.Raw, _ABSENT) for index in range(len(names))]
    rename = {f"f{index}": name for index, name in enumerate(names)}
    struct = msgspec.defstruct("Elements", fields, gc=False, rename=rename)
    many = msgspec.json.Decoder(list[struct])  # type: ignore[valid-type]
    return many.decode, msgspec.json.Decoder(struct).decode


def _decoded(many: Callable[[bytes], list[Any]], data: Sequence[msgspec.Raw]) -> list[Any] | None:
    try:
        return many(b"[" + b",".join(data) + b"]")
    except _UNREADABLE:
        return None


def _decode_or_note(one: Callable[[Any], Any], raw: msgspec.Raw, row: int, wrong: list[int]) -> Any:
    try:
        return one(raw)
    except _UNREADABLE:
        wrong.append(row)
        return one(_EMPTY_OBJECT)


def _nested(raws: Sequence[msgspec.Raw], top: str, names: tuple[str, ...]) -> dict[str, pl.Series]:
    inner = tuple(name.partition(".")[2] for name in names if name.startswith(f"{top}."))
    if not inner:
        return {}
    objects = [raw if bytes(raw[:1]) == b"{" else _EMPTY_OBJECT for raw in map(_whole, raws)]
    columns, _ = decode_elements(objects, inner)
    return {f"{top}.{name}": column for name, column in columns.items()}


def _whole(raw: msgspec.Raw) -> Any:
    return bytes(raw).strip()


def _json_texts(raws: Sequence[msgspec.Raw]) -> pl.Series:
    lengths = lengths_of(raws)
    if not lengths.any():
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(raws))
    texts = text_column(raws, lengths)
    nothing = pl.Series((lengths == 0) | (lengths == len(_NULL)))
    if not nothing.any():
        return texts
    return texts.set(nothing & ((texts == "") | (texts == _NULL)), None)


def lengths_of(raws: Sequence[msgspec.Raw]) -> npt.NDArray[np.int64]:
    """The number of bytes of each."""
    return np.fromiter(map(len, raws), np.int64, len(raws))


def text_column(raws: Sequence[msgspec.Raw], lengths: npt.NDArray[np.int64]) -> pl.Series:
    """A String column over the joined bytes, which are known to be UTF-8."""
    ends = np.zeros(len(raws) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    joined = b"".join(raws)
    return pl.Series(
        pl.from_arrow(pa.LargeStringArray.from_buffers(len(raws), pa.py_buffer(ends), pa.py_buffer(joined)))
    )
