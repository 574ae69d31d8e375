"""Cases of settlement, through files, the rating flow, and `settle`."""

from pathlib import Path

import pytest

from tests.cases.notation import Case
from tests.settlement.notation import read_settlement_cases
from tests.settlement.settling import differences

CASES = [case for path in sorted(Path(__file__).parent.glob("*.case")) for case in read_settlement_cases(path)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.place} {case.title}")
def test_settled(case: Case, tmp_path: Path):
    assert differences(case, tmp_path) == []
