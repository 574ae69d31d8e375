"""The ambient decimal context belongs to whoever calls: the core must not read it (traps differ per thread, too)."""

from decimal import ROUND_UP, Context, Decimal, localcontext
from random import Random

from tests.laws.rating_runs import unlike, with_core
from tests.laws.worlds import Limits, world

HOSTILE = Context(prec=2, rounding=ROUND_UP, Emin=-3, Emax=3, traps=[])


def test_rating_is_the_same_under_a_hostile_context():
    for seed in range(30):
        generated = world(Random(seed), Limits(records=60))
        expected = with_core(generated)
        with localcontext(HOSTILE):
            found = with_core(generated)
        assert unlike(expected, found) == []


def test_the_context_is_hostile():
    with localcontext(HOSTILE):
        assert Decimal("1.234") + 0 == Decimal("1.3")
