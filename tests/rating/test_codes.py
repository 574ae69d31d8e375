"""Several columns as one integer: in the order of the rows, however far apart values are."""

import numpy as np
import polars as pl
import pytest

from rating.codes import packed, ranks, rows_of

FAR = 2**60


@pytest.mark.parametrize("most", [3, FAR])
def test_codes_are_ordered_as_rows_are(most):
    random = np.random.default_rng(1)
    columns = [random.choice(np.array([-most, -1, 0, 2, most]), 200) for _ in range(4)]
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    codes = packed(columns).tolist()
    assert sorted(range(200), key=codes.__getitem__) == sorted(range(200), key=rows.__getitem__)
    assert len(set(codes)) == len(set(rows))


def test_no_rows():
    assert packed([np.zeros(0, np.int64)] * 2).tolist() == []
    assert rows_of([np.zeros(0, np.int64)], [np.array([4])]).tolist() == [-1]
    assert rows_of([np.array([4])], [np.zeros(0, np.int64)]).tolist() == []


def test_known_rows_must_ascend():
    with pytest.raises(AssertionError, match="ascend"):
        rows_of([np.array([2, 1])], [np.array([1])])


def test_names_in_their_order():
    names = pl.Series(["b", None, "a", "b"])
    assert ranks(names).tolist() == [2, 0, 1, 2]
    assert ranks(names, nulls_last=True).tolist() == [1, 2, 0, 1]
    assert ranks(pl.Series([None, None], dtype=pl.String)).tolist() == [0, 0]
