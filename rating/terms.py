"""What a product charges beside usage, compiled to columns: fees, least and greatest spend, flat amounts at zero usage.

Owns the expansion to columns, one row per product version or per rule. Does not own when anything is due. Amounts are
Python integers or Polars Int128 in units of 10^-18.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from rating.expand import ExpandedCharge, expand
from rating.prices import Index, Mask
from schemas.catalog import Catalog, Product
from schemas.currencies import MINOR_UNITS
from schemas.decimals import AMOUNT_SCALE, scaled_amount, scaled_quantity
from schemas.prices import GraduatedPrice, IncludedPrice, Price, StairstepPrice, VolumePrice

NO_CHARGE = -1


@dataclass(frozen=True, slots=True)
class Spend:
    """The least and the greatest amount of one charge, or of all of a product (`charge` is NO_CHARGE)."""

    product: int
    charge: int
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class FlatAtZero:
    """What the first tier of a charge costs when no usage, or only included usage (micros), was met."""

    product: int
    charge: int
    included: int
    amount: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of all products, by row: `minor` (10^-18 in one minor unit), fees (0: none), and rules of charges."""

    minor: pl.Series
    recurring: tuple[int, ...]
    in_advance: Mask
    one_time: tuple[int, ...]
    setup: tuple[int, ...]
    setup_once_per_organization: Mask
    test_mode: tuple[str | None, ...]
    sends_invoices: Mask
    spends: tuple[Spend, ...]
    flats: tuple[FlatAtZero, ...]

    @property
    def is_test(self) -> Mask:
        """Whether a product is settled in a test mode."""
        return np.array([mode is not None for mode in self.test_mode], np.bool_)

    @property
    def has_opening(self) -> Mask:
        """Whether something is due when a subscription begins to pay."""
        rows = zip(self.one_time, self.setup, self.recurring, self.in_advance.tolist(), strict=True)
        return np.array([bool(once or setup or (fee and ahead)) for once, setup, fee, ahead in rows], np.bool_)


def compile_terms(catalog: Catalog, first_charge: Index) -> Terms:
    """The terms of a catalog that passed the lint; `first_charge` is that of `rating.catalog.Products`."""
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    expanded = [expand(product, rules) for product in catalog.products]
    fees = [{fee.kind: fee for fee in one.fees} for one in expanded]
    starts = first_charge.tolist()
    charges = [
        (product, starts[product] + place, charge)
        for product, one in enumerate(expanded)
        for place, charge in enumerate(one.charges)
    ]

    def amounts(kind: str) -> tuple[int, ...]:
        return tuple(scaled_amount(own[kind].amount) if kind in own else 0 for own in fees)

    return Terms(
        minor=pl.Series([_minor(product) for product in catalog.products], dtype=pl.Int128),
        recurring=amounts("recurring"),
        in_advance=np.array(["recurring" in own and own["recurring"].bill == "in_advance" for own in fees], np.bool_),
        one_time=amounts("one_time"),
        setup=amounts("setup"),
        setup_once_per_organization=np.array(
            ["setup" in own and own["setup"].once_per == "organization" for own in fees], np.bool_
        ),
        test_mode=tuple(product.settlement_period.test_mode for product in catalog.products),
        sends_invoices=np.array([product.send_invoices for product in catalog.products], np.bool_),
        spends=tuple(_spends(catalog.products, charges)),
        flats=tuple(flat for product, row, charge in charges for flat in _flats(product, row, charge.price)),
    )


def _minor(product: Product) -> int:
    minor: int = 10 ** (AMOUNT_SCALE - MINOR_UNITS[product.currency])
    return minor


def _spends(products: Iterable[Product], charges: list[tuple[int, int, ExpandedCharge]]) -> Iterable[Spend]:
    stated = [(row, NO_CHARGE, one.minimum_spend, one.maximum_spend) for row, one in enumerate(products)]
    stated += [(product, row, charge.minimum_spend, charge.maximum_spend) for product, row, charge in charges]
    for product, charge, least, most in stated:
        if least is not None or most is not None:
            bounds = [None if bound is None else scaled_amount(bound) for bound in (least, most)]
            yield Spend(product, charge, bounds[0], bounds[1])


def _flats(product: int, row: int, price: Price) -> Iterable[FlatAtZero]:
    included, flat = flat_at_zero(price)
    if flat:
        yield FlatAtZero(product, row, included, flat)


def flat_at_zero(price: Price) -> tuple[int, int]:
    """What is included (micros), and what is due when usage does not go beyond it (10^-18; 0 if nothing is)."""
    included = 0
    if isinstance(price, IncludedPrice):
        included, price = scaled_quantity(price.included), price.then
    if isinstance(price, GraduatedPrice | VolumePrice | StairstepPrice) and price.flat_at_zero:
        return included, scaled_amount(price.tiers[0].flat_amount)
    return included, 0
