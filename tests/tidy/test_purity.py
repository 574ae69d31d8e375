"""The core computes: exact, and the same on every machine at every time."""

import pytest

from tests.tidy.purity import impurities
from tests.tidy.source import CORE, parse, sources


@pytest.mark.parametrize("source", sources(*CORE), ids=lambda source: source.path)
def test_the_core_is_pure(source):
    assert impurities(source) == []


IMPURE = [
    "x = 0.5",
    "x = 1e3",
    "x = a / b",
    "x /= 2",
    "x = float(y)",
    "x = column.cast(pl.Float64)",
    "x = column.mean()",
    "x: float = y",
    "import random",
    "import os.path",
    "from time import monotonic",
    "from pathlib import Path",
    "from pyarrow import parquet",
    "import pyarrow.parquet",
    "from io import open",
    "x = datetime.now(UTC)",
    "x = date.today()",
    "x = pl.read_parquet(y)",
    "x = pl.scan_parquet(y)",
    "print(x)",
    "open(x)",
    "x = hash(y)",
    "x = round(y, 2)",
    "x = y.quantize(z)",
    "with decimal.localcontext(): pass",
    "x = getcontext()",
]
PURE = [
    "x = a // b",
    "x = isinstance(y, float)",
    "x = isinstance(y, int | float)",
    "x = type(y) is float",
    "x = y.quantize(z, context=EXACT)",
    "x = EXACT_CONTEXT.quantize(y, z)",
    "from io import BytesIO",
    "x = pl.read_ipc(snapshot)",
    "from datetime import datetime",
]


@pytest.mark.parametrize("text", IMPURE)
def test_what_is_impure_is_seen(text):
    assert len(impurities(parse("a.py", text))) >= 1


@pytest.mark.parametrize("text", PURE)
def test_what_is_pure_is_left_alone(text):
    assert impurities(parse("a.py", text)) == []
