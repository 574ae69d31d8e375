"""Every record becomes what the exact decoder makes of it alone, whichever path it takes and whoever its neighbours."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.laws.profile import IS_LONG, law
from tests.steps.comparing import ELEMENTS, SIMPLE, Names, check, check_chunk
from tests.steps.records import NOISE, any_record

BATCHES = 10_000 if IS_LONG else 200
LINE_ENDS = (b"\n", b"\n", b"\n", b"\r\n", b"\n\n", b"\n \t\r\n")
REFUSED = {"malformed_json", "missing_id", "missing_source", "missing_subject", "bad_attribute", "bad_time", "bad_data"}
randoms = st.randoms(use_true_random=False)
element_sets = st.sampled_from(ELEMENTS)
raw_bytes = st.binary(max_size=40) | st.lists(st.sampled_from(NOISE), max_size=30).map(bytes)


@law(60)
@given(randoms, st.integers(1, 4), element_sets)
def test_a_record_is_what_it_is_alone(random: Random, count: int, elements: Names):
    check([any_record(random) for _ in range(count)], elements)


@law(60)
@given(randoms, st.integers(1, 4), element_sets, st.integers(0, 10**12))
def test_a_line_is_what_it_is_alone(random: Random, count: int, elements: Names, first: int):
    chunk = b"".join(any_record(random) + random.choice(LINE_ENDS) for _ in range(count))
    check_chunk(chunk.removesuffix(b"\n") if random.random() < 0.3 else chunk, elements, first)


@law(100)
@given(st.lists(raw_bytes, max_size=6), st.integers(0, 6), element_sets)
def test_any_bytes_beside_an_event(raws: list[bytes], place: int, elements: Names):
    records = [*raws[:place], SIMPLE, *raws[place:]]
    assert None in check(records, elements)
    check_chunk(b"\n".join(records), elements)
    check_chunk(b"".join(records), elements)


@law(100)
@given(st.integers(0, len(SIMPLE)), st.integers(0, 4), raw_bytes, element_sets)
def test_any_bytes_inside_an_event(place: int, left_out: int, raw: bytes, elements: Names):
    record = SIMPLE[:place] + raw + SIMPLE[place + left_out :]
    check([record], elements)
    check([record, SIMPLE, record], elements)


def test_random_records_take_both_paths(one_by_one):
    """What the laws try is what both paths are for: enough that the scanner takes, and every reason to refuse one."""
    reasons: Counter[str | None] = Counter()
    for seed in range(BATCHES):
        random = Random(seed)
        records = [any_record(random) for _ in range(random.choice((1, 5, 20, 50)))]
        reasons.update(check(records, ELEMENTS[seed % len(ELEMENTS)]))
    assert reasons.keys() == {None, *REFUSED}
    assert min(reasons.values()) > 0.005 * reasons.total()
    scanned = reasons.total() - one_by_one.records
    assert 0.4 * reasons[None] < scanned < 0.8 * reasons[None]
