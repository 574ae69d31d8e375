"""Every case of the notation, through every way of rating."""

from pathlib import Path

import pytest

from tests.cases import raters
from tests.cases.checking import differences
from tests.cases.notation import Case, read_cases

CASES = [case for path in sorted(Path(__file__).parent.glob("*.case")) for case in read_cases(path)]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.place} {case.title}")


@every_case
def test_case_with_the_oracle(case: Case):
    assert differences(case, raters.rate_with_oracle(case)) == []
