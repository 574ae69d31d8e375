"""The oracle itself obeys the one law of rating, so that whatever equals the oracle obeys it too."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from rating.expand import expand
from tests.laws.cumulative import wrong_sums
from tests.laws.profile import law
from tests.laws.worlds import Limits, world
from tests.oracle.oracle import Oracle

CUMULATIVE = Limits(multipliers=False, per_event_amounts=False)


@law(100)
@given(st.randoms(use_true_random=False))
def test_the_lines_of_a_period_sum_to_the_cumulative_function(rng: Random):
    generated = world(rng, CUMULATIVE)
    oracle = Oracle(generated.catalog, expand, generated.lateness, generated.skew)
    assert wrong_sums(generated.catalog, oracle.rate_all(generated.records)) == []
