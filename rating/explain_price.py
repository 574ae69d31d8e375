"""How the quantity, unit price and amount of one line item come about, in sentences.

>>> decimal_text(Decimal("0.000003000000"))
'0.000003'
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rating.expand import ExpandedCharge
from schemas.decimals import PRICE_INTEGER_DIGITS, PRICE_SCALE, QUANTITY_SCALE, format_scaled, scaled
from schemas.prices import (
    GraduatedPrice,
    IncludedPrice,
    PackagePrice,
    PaidPrice,
    PercentagePrice,
    PerUnitPrice,
    StairstepPrice,
    Tier,
    VolumePrice,
)

Row = Mapping[str, Any]

_BOUND_DIGITS = 32


def price_sentences(line: Row, charge: ExpandedCharge) -> list[str]:
    """The sentences about quantity, usage, tier, unit price and amount of a line item of the charge."""
    included, price = _unwrap(charge)
    match line["line_kind"]:
        case "usage":
            sentences = [_usage_sentence(line), *_unit_price_sentences(line, included, price)]
            sentences += _multiplier_sentences(line, charge, price)
        case "trial":
            sentences = [_usage_sentence(line), "Usage of the trial counts apart and costs nothing."]
        case "blocked":
            quantity = decimal_text(line["quantity"])
            blocked = f"A quota of the product was used up, so {quantity} of the event was blocked and costs nothing."
            sentences = [_usage_sentence(line), blocked]
        case "tier_flat":
            sentences = _flat_sentences(line, included, price, charge)
        case "reprice":
            sentences = [_usage_sentence(line), _reprice_sentence(line, included, price)]
        case kind:
            sentences = [_usage_sentence(line), _per_event_sentence(line, kind)]
    return [*sentences, _amount_sentence(line)]


def tier_text(tier: int, charge: ExpandedCharge) -> str:
    """A tier of the charge and its range of usage, or what its price has instead."""
    included, price = _unwrap(charge)
    if tier == 0:
        return f"usage up to {decimal_text(included)}, included and free" if included else "usage at or below zero"
    if not _tiers(price):
        return f"all usage{_beyond(included)}, which has one price"
    return _tier_place(tier, included, price)


def decimal_text(value: Decimal) -> str:
    """All digits of a decimal, without trailing zeros and without an exponent."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _unwrap(charge: ExpandedCharge) -> tuple[Decimal, PaidPrice]:
    if isinstance(charge.price, IncludedPrice):
        return charge.price.included, charge.price.then
    return Decimal(0), charge.price


def _usage_sentence(line: Row) -> str:
    before, after = decimal_text(line["usage_before"]), decimal_text(line["usage_after"])
    scope = "trial" if line["line_kind"] == "trial" else "period"
    if before == after:
        return f"This line leaves the usage of the {scope} at {after}."
    return f"This line takes the usage of the {scope} from {before} to {after}."


def _unit_price_sentences(line: Row, included: Decimal, price: PaidPrice) -> list[str]:
    if line["tier"] == 0:
        if included:
            return [f"Usage up to {decimal_text(included)} is included and free."]
        return ["Usage at or below zero costs nothing."]
    where = _tier_place(line["tier"], included, price)
    unit = decimal_text(_listed_price(line["tier"], price))
    match price:
        case PerUnitPrice():
            return [f"Every unit{_beyond(included)} costs {unit}."]
        case PackagePrice(package_size=size):
            return [_package_sentence(line, size, f"Every started package{_beyond(included)}", unit)]
        case PercentagePrice(tiers=None):
            return [f"The usage is money: each unit of it costs {unit}."]
        case VolumePrice():
            return [f"The total lies in {where}, so all units of the period cost {unit} each."]
        case StairstepPrice():
            return [f"The total lies in {where}: units cost nothing, the tier's flat amount is a line of its own."]
        case GraduatedPrice() | PercentagePrice():
            tier = _tier(line["tier"], price)
            if tier is not None and tier.package_size is not None:
                return [
                    f"That lies in {where}.",
                    _package_sentence(line, tier.package_size, "Every started package", unit),
                ]
            return [f"That lies in {where}, where a unit costs {unit}."]


def _beyond(included: Decimal) -> str:
    return f" above the included {decimal_text(included)}" if included else ""


def _package_sentence(line: Row, size: Decimal, which: str, unit: str) -> str:
    started = decimal_text(line["quantity"])
    return f"{which} of {decimal_text(size)} costs {unit}, and this line starts {started} of them."


def _tiers(price: PaidPrice) -> tuple[Tier, ...]:
    match price:
        case GraduatedPrice(tiers=tiers) | VolumePrice(tiers=tiers) | StairstepPrice(tiers=tiers):
            return tiers
        case PercentagePrice(tiers=tiers):
            return tiers or ()
        case _:
            return ()


def _tier(number: int, price: PaidPrice) -> Tier | None:
    tiers = _tiers(price)
    return tiers[number - 1] if 1 <= number <= len(tiers) else None


def tier_bounds(charge: ExpandedCharge, number: int) -> tuple[str, str | None] | None:
    """Above which usage a tier of the charge begins and where it ends, the included usage counted in.

    None where there is no such tier; a last tier ends nowhere.
    """
    included, price = _unwrap(charge)
    return _bounds(number, included, price)


def package_size(charge: ExpandedCharge, number: int) -> Decimal | None:
    """How many units a package of this tier holds; None where units are priced one by one."""
    _, price = _unwrap(charge)
    if isinstance(price, PackagePrice):
        return price.package_size
    tier = _tier(number, price)
    return None if tier is None else tier.package_size


def _bounds(number: int, included: Decimal, price: PaidPrice) -> tuple[str, str | None] | None:
    tier, below = _tier(number, price), _tier(number - 1, price)
    if tier is None:
        return None
    lower = below.up_to if below is not None and below.up_to is not None else Decimal(0)
    return _sum_text(included, lower), None if tier.up_to is None else _sum_text(included, tier.up_to)


def _tier_place(number: int, included: Decimal, price: PaidPrice) -> str:
    """A tier and its range of usage, the included usage counted in."""
    bounds = _bounds(number, included, price)
    if bounds is None:
        return f"tier {number}"
    lower, upper = bounds
    return (
        f"tier {number} (above {lower})"
        if upper is None
        else f"tier {number} (above {lower}, up to and including {upper})"
    )


def _sum_text(left: Decimal, right: Decimal) -> str:
    units = [scaled(value, QUANTITY_SCALE, _BOUND_DIGITS) for value in (left, right)]
    assert units[0] is not None and units[1] is not None, "a catalog's bounds are checked when it is loaded"
    return format_scaled(units[0] + units[1], QUANTITY_SCALE)


def _listed_price(number: int, price: PaidPrice) -> Decimal:
    """What the catalog says a unit, or a package, costs in a tier."""
    match price:
        case PerUnitPrice(unit_price=unit):
            return unit
        case PackagePrice(package_price=unit):
            return unit
        case PercentagePrice(rate=rate) if rate is not None:
            return rate
        case _:
            tier = _tier(number, price)
            return tier.unit_price if tier is not None and not isinstance(price, StairstepPrice) else Decimal(0)


def _multiplier_sentences(line: Row, charge: ExpandedCharge, price: PaidPrice) -> list[str]:
    listed = _listed_price(line["tier"], price) if line["tier"] else Decimal(0)
    return _changed_by_rules(listed, line["unit_price"], charge) if line["tier"] else []


def _changed_by_rules(listed: Decimal, charged: Decimal, charge: ExpandedCharge) -> list[str]:
    rules = [rule for rule in charge.rules if rule.multiplier is not None]
    before, after = decimal_text(listed), decimal_text(charged)
    if rules and before != after:
        texts = [f"{rule.id} by `{rule.multiplier}`{f' where `{rule.where}`' if rule.where else ''}" for rule in rules]
        return [f"Pricing rules multiply this ({', '.join(texts)}): for this event {before} becomes {after}."]
    if before != after:
        return [
            f"The amount per event is bounded, so this line shows {after} and a line of its own carries the amount."
        ]
    return ["No multiplier of the pricing rules changes that for this event."] if rules else []


def _flat_sentences(line: Row, included: Decimal, price: PaidPrice, charge: ExpandedCharge) -> list[str]:
    entered = line["quantity"] > 0
    place = _tier_place(line["tier"], included, price)
    tier = _tier(line["tier"], price)
    flat = tier.flat_amount if tier is not None else line["unit_price"]
    usage = decimal_text(line["usage_after"])
    verb, effect = ("entered", "is due") if entered else ("left", "is given back")
    sentence = f"With a usage of {usage} this event {verb} {place}, whose flat amount of {decimal_text(flat)} {effect}."
    return [sentence, *_changed_by_rules(flat, line["unit_price"], charge)]


def _reprice_sentence(line: Row, included: Decimal, price: PaidPrice) -> str:
    new, difference = _listed_price(line["tier"], price), line["unit_price"]
    old = [scaled(value, PRICE_SCALE, PRICE_INTEGER_DIGITS) for value in (new, difference)]
    assert old[0] is not None and old[1] is not None, "prices of a ledger line fit their digits"
    old_text = format_scaled(old[0] - old[1], PRICE_SCALE)
    return (
        f"With this event the total came to lie in {_tier_place(line['tier'], included, price)}. The"
        f" {decimal_text(line['quantity'])} units priced before cost {decimal_text(new)} each instead of {old_text}:"
        f" the line's unit price is the difference, {decimal_text(difference)}."
    )


def _per_event_sentence(line: Row, kind: str) -> str:
    unit = decimal_text(line["unit_price"])
    match kind:
        case "fixed_amount":
            return f"Every event that adds usage costs the fixed amount {unit} besides its share."
        case "minimum_amount":
            return f"The event's share came to less than the least amount per event, so that amount is charged: {unit}."
        case "maximum_amount":
            return (
                f"The event's share came to more than the greatest amount per event, so that amount is charged: {unit}."
            )
        case _:
            return f"It is a line of the kind {kind}."


def _amount_sentence(line: Row) -> str:
    quantity, unit, amount = (decimal_text(line[name]) for name in ("quantity", "unit_price", "amount"))
    return (
        f"Quantity {quantity} * unit price {unit} = {amount} {line['currency']}, kept with all its digits:"
        " rounding happens once, on an invoice."
    )
