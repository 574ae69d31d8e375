"""Meters, prices, charges and pricing rules as a person writes them in a catalog (contracts 2).

The shapes only: that tiers ascend or that a meter has its element is checked by `rating.lint`, where the problem can
name its place among everything else that is wrong.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from schemas.fields import Amount, Fee, Flag, Identifier, PositiveQuantity, Quantity, Record, Text, UnitPrice

Aggregation = Literal["count", "sum", "max", "latest", "unique", "average"]


class Tier(Record):
    """The usage range (bound of the tier before, `up_to`]; the last tier of a price has no `up_to`.

    With `package_size`, `unit_price` is the price of each started package of the tier.
    """

    up_to: PositiveQuantity | None = None
    unit_price: UnitPrice = Decimal(0)
    flat_amount: Amount = Decimal(0)
    package_size: PositiveQuantity | None = None


class PerUnitPrice(Record):
    """Every unit costs the same."""

    model: Literal["per_unit"] = "per_unit"
    unit_price: UnitPrice


class GraduatedPrice(Record):
    """Each unit costs what the tier it lies in says; a tier's flat amount is due once usage enters it."""

    model: Literal["graduated"] = "graduated"
    tiers: tuple[Tier, ...]
    flat_at_zero: Flag = False


class VolumePrice(Record):
    """All units cost what the tier that the total lies in says, plus that tier's flat amount."""

    model: Literal["volume"] = "volume"
    tiers: tuple[Tier, ...]
    flat_at_zero: Flag = False


class StairstepPrice(Record):
    """The whole usage costs the flat amount of the tier that the total lies in."""

    model: Literal["stairstep"] = "stairstep"
    tiers: tuple[Tier, ...]
    flat_at_zero: Flag = False


class PackagePrice(Record):
    """Every started package of `package_size` units costs `package_price`."""

    model: Literal["package"] = "package"
    package_size: PositiveQuantity
    package_price: Amount


class PercentagePrice(Record):
    """A share of usage that is itself money: one `rate`, or tiers whose unit price is the rate.

    `fixed_amount` is added per event; `minimum_amount` and `maximum_amount` bound what one event costs.
    """

    model: Literal["percentage"] = "percentage"
    rate: UnitPrice | None = None
    tiers: tuple[Tier, ...] | None = None
    fixed_amount: Amount = Decimal(0)
    minimum_amount: Amount | None = None
    maximum_amount: Amount | None = None


PaidPrice = Annotated[
    PerUnitPrice | GraduatedPrice | VolumePrice | StairstepPrice | PackagePrice | PercentagePrice,
    Field(discriminator="model"),
]


class IncludedPrice(Record):
    """Free up to `included`; the usage above it costs what `then` says, counted from 0 at the excess."""

    model: Literal["included"] = "included"
    included: Quantity
    then: PaidPrice


Price = Annotated[
    PerUnitPrice | GraduatedPrice | VolumePrice | StairstepPrice | PackagePrice | PercentagePrice | IncludedPrice,
    Field(discriminator="model"),
]


class Meter(Record):
    """How events that match `where` become usage: an aggregation of an element or of a `quantity` formula."""

    aggregation: Aggregation
    element: Identifier | None = None
    quantity: Text | None = None
    where: Text | None = None
    allow_negative: Flag = False


COUNT = Meter(aggregation="count")


class Charge(Record):
    """A meter and its price within a product."""

    id: Identifier
    name: Text | None = None
    meter: Meter
    price: Price
    minimum_spend: Fee | None = None
    maximum_spend: Fee | None = None


class PricingRule(Record):
    """A named filter, multiplier or formula that products list.

    With a `multiplier`, the amounts of events matching `where` are multiplied; with a `quantity`, it replaces the
    quantity that matching events bring to sum, max, latest and average meters; with `where` alone, events not matching
    are not metered by any charge of the product.
    """

    id: Identifier
    name: Text | None = None
    where: Text | None = None
    multiplier: Text | None = None
    quantity: Text | None = None
