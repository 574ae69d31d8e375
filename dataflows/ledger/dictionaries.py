"""Columns of few different texts as Arrow dictionaries, which a Parquet file takes without hashing text after text.

The rule: texts are told apart by their views, 16 bytes each, as long as few are met; else Arrow encodes the column.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rating.compiled import compiled
from rating.prices import Index, Mask
from rating.wide import Wide

TYPE = pa.dictionary(pa.int32(), pa.large_string())
_MOST = 32
_WORDS = 2


def encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts (`string_view`, or what casts to `large_string`) as dictionaries of type TYPE."""
    if column.type == TYPE:
        return column
    return pa.chunked_array([_encoded(chunk) for chunk in column.chunks], TYPE)


def _encoded(texts: pa.Array) -> pa.DictionaryArray:
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), TYPE)
    if pa.types.is_string_view(texts.type):
        views = np.frombuffer(texts.buffers()[1], np.uint64).reshape(-1, _WORDS)[texts.offset :][: len(texts)]
        absent = texts.is_null().to_numpy(zero_copy_only=False)
        codes, first = np.zeros(len(texts), np.int32), np.empty(_MOST, np.int64)
        number = _told_apart(views, absent, codes, first)
        if number <= _MOST:
            return _of_codes(codes, absent, [texts[row].as_py() for row in first[:number].tolist()])
    return texts.cast(pa.large_string()).dictionary_encode()


def _of_codes(codes: npt.NDArray[np.int32], absent: Mask, values: list[str]) -> pa.DictionaryArray:
    """Two views may be of the same long text."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    if len(places) < len(values):
        codes = np.array([places[value] for value in values], np.int32)[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=absent), pa.array(list(places), pa.large_string()))


@compiled
def _told_apart(views: Wide, absent: Mask, codes: npt.NDArray[np.int32], first: Index) -> int:
    """Fills in a number for each view and the row where each is met first; gives how many are met, or too many."""
    number = code = 0
    before = -1
    for row in range(len(views)):
        if absent[row]:
            continue
        if before < 0 or views[row, 0] != views[before, 0] or views[row, 1] != views[before, 1]:
            code = 0
            while code < number:
                known = first[code]
                if views[row, 0] == views[known, 0] and views[row, 1] == views[known, 1]:
                    break
                code += 1
            if code == number:
                if number == len(first):
                    return number + 1
                first[number] = row
                number += 1
        codes[row], before = code, row
    return number
