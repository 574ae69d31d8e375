"""Where the amounts come from that usage has no part in: fees, their parts, and the bounds of spend, in sentences.

Owns: what the catalog says of them, computed afresh. Does not own: what was invoiced. The rule: an amount comes with
the sentence that derives it, from the same functions that settlement uses.

>>> amount_text(15_500_000_000_000_000_000)
'15.5'
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from rating.catalog import CompiledCatalog, compile_catalog
from rating.due import paid_from, paid_part, whole_periods
from rating.expand import ExpandedProduct, Fee, expand
from rating.explain import moment_text
from rating.periods import ENDLESS, moment_of
from schemas.catalog import Catalog
from schemas.currencies import MINOR_UNITS
from schemas.decimals import AMOUNT_SCALE, divide_half_away, format_scaled, scaled, scaled_amount

Row = Mapping[str, Any]

_AMOUNT_DIGITS = 20
_SECOND = 6


@dataclass(frozen=True, slots=True)
class Derived:
    """An amount in units of 10^-18, as the catalog has it, and how it comes about; exact up to its last digit."""

    units: int
    sentences: tuple[str, ...]


def amount_units(amount: Decimal) -> int:
    """An amount of the ledger in units of 10^-18."""
    units = scaled(amount, AMOUNT_SCALE, _AMOUNT_DIGITS)
    assert units is not None, f"{amount} is no amount of a ledger"
    return units


def amount_text(units: int) -> str:
    """Units of 10^-18 with all their digits."""
    return format_scaled(units, AMOUNT_SCALE)


def expanded_product(line: Row, catalog: Catalog) -> ExpandedProduct | None:
    """The product version of an invoice line, if the catalog has it."""
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    wanted = (line["product_id"], line["product_version"])
    return next((expand(one, rules) for one in catalog.products if (one.id, one.version) == wanted), None)


def recurring_fee(line: Row, product: ExpandedProduct, catalog: Catalog) -> Derived | None:
    """The recurring fee of the line's period, or of the part of it that is paid."""
    fee = _fee(product, "recurring")
    if fee is None:
        return None
    when = "opens" if fee.bill == "in_advance" else "closes"
    stated = (
        f"The recurring fee of {_name(product)} is {_price_text(fee.amount)} {line['currency']} per settlement period,"
        f" billed {fee.bill.replace('_', ' ')}: on the invoice that {when} the period."
    )
    part = _paid(line, fee.amount, catalog)
    return part and Derived(part.units, (stated, *part.sentences))


def fee_on_purchase(line: Row, product: ExpandedProduct) -> Derived | None:
    """The one-time or the setup fee."""
    fee = _fee(product, "one_time" if line["line_kind"] == "one_time" else "setup")
    if fee is None:
        return None
    name = "one-time price" if fee.kind == "one_time" else "setup fee"
    once = f"once per {fee.once_per}"
    if fee.once_per == "organization":
        once += ", by its subscription that begins to pay first"
    text = f"The {name} of {_name(product)} is {_price_text(fee.amount)} {line['currency']}, paid {once}."
    return Derived(scaled_amount(fee.amount), (text,))


def spend_bound(line: Row, kind: str, product: ExpandedProduct, catalog: Catalog) -> Derived | None:
    """The least or the greatest spend of the line's charge, or of its product, for what of the period is paid."""
    word = "minimum" if kind == "minimum_spend" else "maximum"
    owner, whose = _bounded(line, product)
    bound = owner and (owner.minimum_spend if word == "minimum" else owner.maximum_spend)
    if bound is None:
        return None
    stated = f"The {word} spend of {whose} is {_price_text(bound)} {line['currency']} per settlement period."
    part = _paid(line, bound, catalog, 10 ** (AMOUNT_SCALE - MINOR_UNITS[line["currency"]]))
    return part and Derived(part.units, (stated, *part.sentences))


def _bounded(line: Row, product: ExpandedProduct) -> tuple[Any, str]:
    if line["charge_id"] is None:
        return product, _name(product)
    return next((one for one in product.charges if one.id == line["charge_id"]), None), f"charge {line['charge_id']}"


def _fee(product: ExpandedProduct, kind: str) -> Fee | None:
    return next((fee for fee in product.fees if fee.kind == kind), None)


def _name(product: ExpandedProduct) -> str:
    return f"product {product.product_id}@{product.version}"


def _paid(line: Row, amount: Decimal, catalog: Catalog, unit: int = 1) -> Derived | None:
    """What of an amount per period falls on the paid part of the line's period, in whole units."""
    compiled = _alone(line["subscription_id"], catalog)
    if compiled is None:
        return None
    row, number = np.zeros(1, np.int64), np.array([line["period"] - 1], np.int64)
    paid = paid_part(compiled, row, number)
    units, part, whole = scaled_amount(amount), int(paid.part[0]), int(paid.whole[0])
    if part >= whole:
        return Derived(divide_half_away(units, unit) * unit, ("The period is paid in whole.",))
    share = divide_half_away(units * part, whole * unit) * unit
    digits = AMOUNT_SCALE - len(str(unit)) + 1
    start, over = (int(times[0]) for times in whole_periods(compiled, row, number))
    begin, end = max(start, int(paid_from(compiled, row)[0])), min(over, int(compiled.subscriptions.life[0, 1]))
    assert over != ENDLESS, "an endless period is never paid in part"
    seconds = [format_scaled(time, _SECOND) for time in (whole, part)]
    return Derived(
        share,
        (
            f"Of the {seconds[0]} seconds of the period from {_moment(start)} to {_moment(over)},"
            f" {seconds[1]} are paid: from {_moment(begin)}{' (the end of the trial)' if begin > start else ''}"
            f" to {_moment(end)}{' (the end of the subscription)' if end < over else ''}.",
            f"{_price_text(amount)} * {seconds[1]} / {seconds[0]} = {amount_text(share)}, to {digits} digits.",
        ),
    )


def _alone(name: str, catalog: Catalog) -> CompiledCatalog | None:
    """The catalog as if it had this subscription only: its periods are the same, and quick to compute."""
    own = tuple(one for one in catalog.subscriptions if one.id == name)
    products = tuple(one for one in catalog.products if own and one.reference == own[0].product)
    if not products:
        return None
    alone = {"subscriptions": own, "products": products, "credentials": (), "refunds": (), "subscribers": ()}
    return compile_catalog(catalog.model_copy(update=alone))


def _moment(time: int) -> str:
    return moment_text(moment_of(time))


def _price_text(amount: Decimal) -> str:
    return amount_text(scaled_amount(amount))
