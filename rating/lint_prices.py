"""What may be wrong with a price: gaps, tiers out of order, cliffs, tiers that never matter.

Costs are computed on scaled integers, exactly as rating does. Paths are relative to the price.

>>> from schemas.prices import Tier, VolumePrice
>>> tiers = (Tier(up_to="100", unit_price="0.10"), Tier(unit_price="0.05"))
>>> [problem.message for problem in price_problems(VolumePrice(tiers=tiers), whole=True)]
['more usage costs less in total: 100 costs 10 and 101 costs 5.05']
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from schemas.decimals import (
    AMOUNT_SCALE,
    PRICE_SCALE,
    QUANTITY_SCALE,
    format_scaled,
    scaled_price,
    scaled_quantity,
)
from schemas.prices import (
    GraduatedPrice,
    IncludedPrice,
    PackagePrice,
    PercentagePrice,
    PerUnitPrice,
    Price,
    StairstepPrice,
    Tier,
    VolumePrice,
)
from schemas.problems import Path, Problem, Severity

_WHOLE = int("1" + "0" * QUANTITY_SCALE)
_AMOUNT_PER_PRICE = int("1" + "0" * (AMOUNT_SCALE - PRICE_SCALE))


def price_problems(price: Price, *, whole: bool, at: Path = ()) -> Iterator[Problem]:
    """The problems of a price; `whole` says that its meter only ever gives whole quantities."""
    match price:
        case PerUnitPrice(unit_price=unit_price):
            yield from _negative(unit_price, (*at, "unit_price"))
        case PackagePrice(package_price=package_price):
            yield from _negative(package_price, (*at, "package_price"))
        case IncludedPrice(then=then):
            yield from price_problems(then, whole=whole, at=(*at, "then"))
        case PercentagePrice():
            yield from _percentage_problems(price, whole, at)
        case GraduatedPrice() | VolumePrice() | StairstepPrice():
            yield from tier_problems(price.tiers, price.model, whole=whole, at=(*at, "tiers"))


def _percentage_problems(price: PercentagePrice, whole: bool, at: Path) -> Iterator[Problem]:
    if (price.rate is None) == (price.tiers is None):
        yield Problem("a percentage price has either a rate or tiers", (*at, "rate" if price.rate else "model"))
    if price.tiers is not None:
        yield from tier_problems(price.tiers, "percentage", whole=whole, at=(*at, "tiers"))
    least, greatest = price.minimum_amount, price.maximum_amount
    if least is not None and greatest is not None and least > greatest:
        yield Problem(f"minimum_amount {least} is greater than maximum_amount {greatest}", (*at, "minimum_amount"))
    if price.rate is not None:
        yield from _negative(price.rate, (*at, "rate"))


def tier_problems(tiers: Sequence[Tier], model: str, *, whole: bool, at: Path) -> Iterator[Problem]:
    """Gaps, order and misplaced keys of tiers; if there are none, also cliffs and dead tiers. `at` is their path."""
    errors = (
        *_gaps(tiers, at),
        *(error for i, tier in enumerate(tiers) for error in _misplaced(tier, model, (*at, i))),
    )
    yield from errors
    if errors:
        return
    for index, tier in enumerate(tiers):
        yield from _negative(tier.unit_price, (*at, index, "unit_price"))
        yield from _negative(tier.flat_amount, (*at, index, "flat_amount"))
    for index, (before, tier) in enumerate(pairwise(tiers), start=1):
        yield from _dead(before, tier, model, whole, (*at, index))
        if model in ("volume", "stairstep"):
            yield from _cliff(before, tier, whole, (*at, index))


def _gaps(tiers: Sequence[Tier], at: Path) -> Iterator[Problem]:
    if not tiers:
        yield Problem("has no tier; usage would have no price", at)
        return
    reached = Decimal(0)
    for index, tier in enumerate(tiers):
        if tier.up_to is None:
            if index < len(tiers) - 1:
                yield Problem("only the last tier may be open; this one needs up_to", (*at, index))
            continue
        if tier.up_to <= reached:
            message = f"up_to {tier.up_to} does not lie above {reached}, where the tier before ends"
            yield Problem(message, (*at, index, "up_to"))
        reached = max(reached, tier.up_to)
    if tiers[-1].up_to is not None:
        message = f"a gap: usage above {tiers[-1].up_to} has no price; the last tier must be open (no up_to)"
        yield Problem(message, (*at, len(tiers) - 1, "up_to"))


def _misplaced(tier: Tier, model: str, at: Path) -> Iterator[Problem]:
    if tier.package_size is not None and model in ("stairstep", "percentage"):
        yield Problem(f"a {model} price has no packages", (*at, "package_size"))
    if tier.unit_price and model == "stairstep":
        yield Problem("a stairstep tier costs its flat_amount and has no unit_price", (*at, "unit_price"))


def _negative(price: Decimal, path: Path) -> Iterator[Problem]:
    if price < 0:
        yield _warning(f"more usage costs less in total: the price {price} is negative", path)


def _dead(before: Tier, tier: Tier, model: str, whole: bool, at: Path) -> Iterator[Problem]:
    """A tier that no usage can reach, or that changes nothing."""
    assert before.up_to is not None, "tiers were checked for gaps first"
    if whole and tier.up_to is not None and _floor(before.up_to) == _floor(tier.up_to):
        yield _warning(f"dead tier: no whole number lies above {before.up_to} and up to {tier.up_to}", at)
    elif tier.package_size is None and before.package_size is None and tier.unit_price == before.unit_price:
        flat_before = Decimal(0) if model in ("graduated", "percentage") else before.flat_amount
        if tier.flat_amount == flat_before:
            yield _warning("dead tier: it costs the same as the tier before it", at)


def _cliff(before: Tier, tier: Tier, whole: bool, at: Path) -> Iterator[Problem]:
    """The total just above a bound against the total at it."""
    assert before.up_to is not None, "tiers were checked for gaps first"
    last = _floor(before.up_to) if whole else scaled_quantity(before.up_to)
    following = last + (_WHOLE if whole else 1)
    total_before, total_after = _total(before, last), _total(tier, following)
    if total_after < total_before:
        message = (
            f"more usage costs less in total: {format_scaled(last, QUANTITY_SCALE)} costs "
            f"{format_scaled(total_before, AMOUNT_SCALE)} and {format_scaled(following, QUANTITY_SCALE)} costs "
            f"{format_scaled(total_after, AMOUNT_SCALE)}"
        )
        yield _warning(message, at)


def _total(tier: Tier, usage: int) -> int:
    """What usage (micros) that lies in this tier costs when all of it is priced there, in units of 10^-18."""
    unit_price, flat = scaled_price(tier.unit_price), scaled_price(tier.flat_amount) * _AMOUNT_PER_PRICE
    if tier.package_size is None:
        return unit_price * usage + flat
    packages = -(-usage // scaled_quantity(tier.package_size))
    return packages * unit_price * _AMOUNT_PER_PRICE + flat


def _floor(quantity: Decimal) -> int:
    micros = scaled_quantity(quantity)
    return micros - micros % _WHOLE


def _warning(message: str, path: Path) -> Problem:
    severity: Severity = "warning"
    return Problem(message, path, severity=severity)
