"""What stands on an invoice's lines, for the person who pays it.

>>> wording(LineKind.USAGE, None, "calls", 2, 3), wording(LineKind.ADJUSTMENT, LineKind.USAGE, "calls", 1, 1)
('calls, tier 2', 'Adjustment: calls')
"""

from schemas.invoices import LineKind

_OF_CHARGES = {
    LineKind.REPRICE: "{charge}: earlier usage at the price of tier {tier}",
    LineKind.TIER_FLAT: "{charge}: flat amount of tier {tier}",
    LineKind.FIXED_AMOUNT: "{charge}: fixed amounts per event",
    LineKind.MINIMUM_AMOUNT: "{charge}: least amounts per event",
    LineKind.MAXIMUM_AMOUNT: "{charge}: greatest amounts per event",
    LineKind.MINIMUM_SPEND: "{charge}: up to the minimum spend",
    LineKind.MAXIMUM_SPEND: "{charge}: down to the maximum spend",
}
_OF_PRODUCTS = {
    LineKind.ONE_TIME: "One-time purchase",
    LineKind.SETUP_FEE: "Setup fee",
    LineKind.RECURRING_FEE: "Recurring fee",
    LineKind.PRORATION: "Recurring fee, for the part of the period",
    LineKind.MINIMUM_SPEND: "Up to the minimum spend",
    LineKind.MAXIMUM_SPEND: "Down to the maximum spend",
    LineKind.REFUND: "Refund",
}


def wording(kind: LineKind, adjusts: LineKind | None, charge: str | None, tier: int, tiers: int) -> str:
    """The description of a line; `tiers` is how many its charge has."""
    if kind == LineKind.ADJUSTMENT:
        assert adjusts is not None, "an adjustment of nothing"
        return f"Adjustment: {wording(adjusts, None, charge, tier, tiers)}"
    if charge is None:
        return _OF_PRODUCTS[kind]
    if kind == LineKind.USAGE:
        return f"{charge}, included" if tier == 0 else f"{charge}, tier {tier}" if tiers > 1 else charge
    return _OF_CHARGES[kind].format(charge=charge, tier=tier)
