"""The columnar core equals the oracle row for row, and obeys the laws of rating (semantics 2 and 7)."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.laws.cumulative import sums, wrong_sums
from tests.laws.notices import crossed
from tests.laws.profile import WORLDS, law
from tests.laws.rating_runs import unlike, with_core, with_oracle
from tests.laws.shrinking import fewest_records
from tests.laws.worlds import Limits, World, shown, world

CUMULATIVE = Limits(multipliers=False, per_event_amounts=False)
ORDERLESS = Limits(
    records=20, multipliers=False, per_event_amounts=False, bad=False, windows=False, huge=False, quotas=False
)
NOTIFYING = replace(ORDERLESS, quotas=True, blocking=False)
randoms = st.randoms(use_true_random=False)
BLOCK = 25


@pytest.mark.parametrize("block", range(0, WORLDS, BLOCK))
def test_the_core_equals_the_oracle_row_for_row(block: int):
    for seed in range(block, block + BLOCK):
        random = Random(seed)
        generated = world(random, Limits(records=random.choice((10, 40, 120))))
        compare(generated, seed, key_groups=random.choice((1, 4, 16)))


@law(60)
@given(randoms, st.integers(0, 3))
def test_the_core_equals_the_oracle_near_the_edges(random: Random, seed: int):
    generated = world(random, Limits(records=12))
    assert unlike(with_oracle(generated), with_core(generated, seed=seed)) == []


def compare(generated: World, seed: int, key_groups: int = 16) -> None:
    """Fails with the fewest records that show a difference."""

    def differences(one: World) -> list[str]:
        return unlike(with_oracle(one, key_groups), with_core(one, seed=seed, key_groups=key_groups))

    if differences(generated):
        smallest = fewest_records(generated, lambda one: bool(differences(one)))
        raise AssertionError(f"seed {seed}: " + "\n".join(differences(smallest)) + f"\n{shown(smallest)}")


def test_a_long_input_equals_the_oracle():
    generated = world(Random(7), Limits(records=6000, lanes=2))
    records = sorted((generated.records * 4000)[:4000], key=lambda record: record[0])
    generated = replace(generated, records=records)
    assert unlike(with_oracle(generated), with_core(generated, size=700)) == []


@law(40)
@given(randoms)
def test_the_lines_of_a_period_sum_to_the_cumulative_function(random: Random):
    generated = world(random, CUMULATIVE)
    assert wrong_sums(generated.catalog, with_core(generated)) == []


@law(30)
@given(randoms, st.integers(0, 1000))
def test_any_order_gives_the_same_sums(random: Random, seed: int):
    generated = world(random, ORDERLESS)
    records = list(generated.records)
    Random(seed).shuffle(records)
    shuffled = replace(generated, records=records)
    assert sums(with_core(shuffled, seed=seed)) == sums(with_core(generated))


@law(30)
@given(randoms, st.sampled_from([1, 2, 3, 7, 1000]), st.sampled_from([1, 2, 16, 64]))
def test_any_batch_size_and_number_of_key_groups_gives_the_same_rows(random: Random, size: int, key_groups: int):
    generated = world(random, replace(ORDERLESS, quotas=True))
    assert unlike(with_core(generated, size, key_groups), with_core(generated, 50, 16)) == []


@law(40)
@given(randoms, st.integers(0, 1000))
def test_each_threshold_is_told_once_in_any_order(random: Random, seed: int):
    generated = world(random, NOTIFYING)
    records = list(generated.records * 2)
    Random(seed).shuffle(records)
    shuffled = with_core(replace(generated, records=records), seed=seed)
    told, again = crossed(generated.catalog, with_core(generated)), crossed(generated.catalog, shuffled)
    assert told == again
    assert set(told.values()) <= {1}


@law(30)
@given(randoms, st.integers(0, 1000))
def test_duplicates_change_nothing(random: Random, seed: int):
    generated = world(random, ORDERLESS)
    once = with_core(generated)
    repeated = with_core(replace(generated, records=generated.records * 2), seed=seed)
    assert unlike(once, repeated[: len(once)]) == []
    remembered = {"rated", "exempt", "trial", "blocked"}
    for first, second in zip(once, repeated[len(once) :], strict=True):
        assert second.verdict == ("duplicate" if first.verdict in remembered else first.verdict)
        assert second.lines == ()


@law(20)
@given(randoms, st.integers(0, 1000))
def test_a_snapshot_at_any_point_changes_nothing(random: Random, seed: int):
    generated = world(random)
    assert unlike(with_core(generated, seed=seed), with_core(generated, seed=seed, through_bytes=True)) == []


@law(60)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=20))
def test_no_bytes_stop_the_core(raws: list[bytes]):
    records = [(0, raw, None) for raw in raws if raw]
    generated = replace(world(Random(1)), records=records or [(0, b"x", None)])
    assert unlike(with_oracle(generated), with_core(generated)) == []


@law(60)
@given(randoms, st.data())
def test_no_broken_event_stops_the_core(random: Random, data: st.DataObject):
    generated = world(random, Limits(records=5))
    records = [(lane, _broken(raw, data), None) for lane, raw, _ in generated.records]
    generated = replace(generated, records=records)
    assert unlike(with_oracle(generated), with_core(generated)) == []


def _broken(raw: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(raw)))
    return raw[:at] + data.draw(st.binary(max_size=3)) + raw[at + data.draw(st.integers(0, 3)) :]


@law(20)
@given(randoms)
def test_every_record_gets_exactly_one_verdict(random: Random):
    generated = world(random, Limits(records=80))
    counts = Counter(rated.verdict for rated in with_core(generated))
    assert sum(counts.values()) == len(generated.records)
