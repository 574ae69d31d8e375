"""What the values of elements say, where JSON is unusual."""

import polars as pl
import pytest

from rating.meters import _texts


@pytest.mark.parametrize("inside", ["9" * 5_000, "1e999999999", '"\\ud800"', "[" * 50 + "]" * 50])
def test_an_object_with_an_escape_is_no_number_whatever_it_holds(inside):
    unusual = '{"a\\n": ' + inside + "}"
    texts = _texts(pl.Series([unusual, '"1\\u0032"', "5"]))
    assert texts.to_list() == [None, "12", "5"]
