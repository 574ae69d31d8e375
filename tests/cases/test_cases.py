"""Every case of the notation, through every way of rating."""

from pathlib import Path

import pytest

from tests.cases import raters
from tests.cases.checking import differences
from tests.cases.flow import can_be_files, rate_with_flow, rate_with_killed_flow
from tests.cases.notation import Case, read_cases

CASES = [case for path in sorted(Path(__file__).parent.glob("*.case")) for case in read_cases(path)]
IN_FILES = [case for case in CASES if can_be_files(case)]
SHORT = [case for case in CASES if len(case.records) < 1000]


def every_case(cases: list[Case] = CASES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.place} {case.title}")


@every_case(SHORT)
def test_with_the_oracle(case: Case):
    assert differences(case, raters.rate_with_oracle(case)) == []


@every_case()
def test_with_the_core(case: Case):
    assert differences(case, raters.rate_with_core(case)) == []


@every_case(SHORT)
def test_with_the_core_in_batches_of_one(case: Case):
    assert differences(case, raters.rate_with_core_one_by_one(case)) == []


@every_case(IN_FILES)
def test_with_the_flow(case: Case):
    assert differences(case, rate_with_flow(case)) == []


@every_case(IN_FILES)
def test_with_two_workers_killed_and_resumed(case: Case):
    assert differences(case, rate_with_killed_flow(case)) == []
