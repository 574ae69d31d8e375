"""A look at which path records take."""

from collections.abc import Sequence
from typing import Any

import pytest

from dataflows.steps import decode as steps
from dataflows.steps.exact import Exact, decode_exactly


class Path:
    """Counts the records that are decoded one by one, and goes on with them."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self, records: Sequence[bytes], *others: Any) -> Exact:
        self.records += len(records)
        return decode_exactly(records, *others)


@pytest.fixture
def one_by_one(monkeypatch) -> Path:
    """How many records of batches were left to the exact decoder."""
    path = Path()
    monkeypatch.setattr(steps, "decode_exactly", path)
    return path
