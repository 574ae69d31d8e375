"""What an invoice says in words: its lines in groups, its period on the calendar of who pays, its recipient's details.

Owns the words and their order. Does not own the page. The rule: numbers come from the invoice's rows; the catalog it
was settled with, if the ledger keeps it, only gives things their names, and tiers their bounds.

>>> words_of("tax_id"), words_of("costCentre")
('Tax ID', 'CostCentre')
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from dataflows.templating import filters
from rating.expand import ExpandedCharge, ExpandedProduct, expand
from rating.explain_price import package_size, tier_bounds
from schemas.catalog import Catalog
from schemas.invoices import LineKind

Row = Mapping[str, Any]

_FEES = {LineKind.ONE_TIME, LineKind.SETUP_FEE, LineKind.RECURRING_FEE, LineKind.PRORATION}
_WHOLE_WORDS = {"id": "ID", "vat": "VAT", "po": "PO", "iban": "IBAN", "bic": "BIC", "url": "URL"}


@dataclass(frozen=True, slots=True)
class Item:
    """A line as it is read: what for, which part of that, and its exact numbers."""

    label: str
    detail: str
    quantity: Decimal | None
    unit_price: Decimal | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that belong together, under a title."""

    title: str
    items: tuple[Item, ...]


class Names:
    """What a catalog calls things; without one, their ids. `zone` is the organization's, in which its days begin."""

    def __init__(self, catalog: Catalog | None, head: Row) -> None:
        self.zone = "UTC"
        self.product = head["product_id"]
        self.credentials: dict[str, str] = {}
        self._names: dict[tuple[str, str, str], str] = {}
        self._charges: dict[tuple[str, str, str], ExpandedCharge] = {}
        if catalog is not None:
            self._learn(catalog, head)

    def _learn(self, catalog: Catalog, head: Row) -> None:
        self.zone = next((one.timezone for one in catalog.organizations if one.id == head["organization_id"]), "UTC")
        self.credentials = {one.id: one.name for one in catalog.credentials if one.name is not None}
        rules = {rule.id: rule for rule in catalog.pricing_rules}
        for product in catalog.products:
            if product.id != head["product_id"]:
                continue
            if product.version == head["product_version"]:
                self.product = product.name or product.id
            sold: ExpandedProduct = expand(product, rules)
            named = {charge.id: charge.name for charge in product.charges if charge.name is not None}
            for charge in sold.charges:
                key = (product.id, product.version, charge.id)
                self._charges[key] = charge
                self._names[key] = named.get(charge.id, "")

    def charge(self, line: Row) -> str:
        """The name of a line's charge."""
        return self._names.get(_key(line)) or words_of(line["charge_id"])

    def tier(self, line: Row) -> str:
        """The bounds of a line's tier, and how many units a package of it holds."""
        charge = self._charges.get(_key(line))
        if charge is None or not line["tier"]:
            return ""
        parts = []
        bounds = tier_bounds(charge, line["tier"])
        if line["line_kind"] != LineKind.REPRICE.label and bounds is not None and bounds != ("0", None):
            parts.append(_range(*bounds))
        size = package_size(charge, line["tier"])
        if size is not None and line["line_kind"] != LineKind.TIER_FLAT.label:
            parts.append(f"packages of {filters.quantity(size)}")
        return ", ".join(parts)


def _key(line: Row) -> tuple[str, str, str]:
    return line["product_id"], line["product_version"], line["charge_id"]


def _range(lower: str, upper: str | None) -> str:
    above = "" if lower == "0" else f"above {filters.quantity(Decimal(lower))}"
    up_to = "" if upper is None else f"up to {filters.quantity(Decimal(upper))}"
    return ", ".join(part for part in (above, up_to) if part)


def groups(head: Row, lines: Iterable[Row], names: Names) -> tuple[Group, ...]:
    """The lines in the order of an invoice: fees, each charge, bounds of spend, adjustments by period, refunds."""
    found: dict[tuple[Any, ...], tuple[str, list[Item]]] = {}
    for line in lines:
        place, title = _place(line, names)
        found.setdefault(place, (title, []))[1].append(_item(head, line, names))
    ordered = sorted(found, key=lambda place: place[0])
    return tuple(Group(found[place][0], tuple(found[place][1])) for place in ordered)


def _place(line: Row, names: Names) -> tuple[tuple[Any, ...], str]:
    kind = LineKind[line["line_kind"].upper()]
    if kind in _FEES:
        return (0,), "Fees"
    if kind == LineKind.REFUND:
        return (4,), "Refunds"
    if kind == LineKind.ADJUSTMENT:
        period = period_text(line["period_start"], line["period_end"], names.zone)
        return (3, line["period"]), f"Adjustments of an earlier period: {period}"
    if line["charge_id"] is None:
        return (2,), "Agreed spend"
    return (1, *_key(line)), names.charge(line)


def _item(head: Row, line: Row, names: Names) -> Item:
    kind = LineKind[line["line_kind"].upper()]
    detail = names.tier(line) if line["charge_id"] is not None else ""
    if kind in _FEES and line["period"] not in (head["period"], 0):
        detail = period_text(line["period_start"], line["period_end"], names.zone)
    is_adjustment = kind == LineKind.ADJUSTMENT
    label = line["description"].removeprefix("Adjustment: ") if is_adjustment else _within_charge(line)
    return Item(label, detail, line["quantity"], line["unit_price"], line["amount"])


def _within_charge(line: Row) -> str:
    """The description without the charge, which is the title above it."""
    text, charge = line["description"], line["charge_id"]
    if charge is None:
        return str(text)
    rest = text.removeprefix(charge).lstrip(",: ") if text.startswith(charge) else text
    return f"{rest[:1].upper()}{rest[1:]}" if rest else "Usage"


def day(moment: datetime, zone: str) -> str:
    """The day of a moment in a zone."""
    return filters.date(_wall(moment, zone))


def period_text(start: datetime, end: datetime | None, zone: str) -> str:
    """A period on the calendar of a zone: its first and last day, or its exact bounds where they are within a day.

    >>> start = datetime(2026, 9, 30, 22, tzinfo=UTC)
    >>> period_text(start, datetime(2026, 10, 31, 23, tzinfo=UTC), "Europe/Amsterdam")
    '1 October 2026 – 31 October 2026'
    >>> period_text(start, start + timedelta(hours=1), "UTC")
    '30 September 2026, 22:00 – 30 September 2026, 23:00 (UTC)'
    """
    first = _wall(start, zone)
    if end is None:
        return f"from {filters.date(first)}"
    if end == start:
        return filters.date(first)
    over = _wall(end, zone)
    if first.time() == over.time() == datetime.min.time():
        last = filters.date(over - timedelta(days=1))
        return last if last == filters.date(first) else f"{filters.date(first)} – {last}"
    return f"{_to_the_minute(first)} – {_to_the_minute(over)} ({zone})"


def _wall(moment: datetime, zone: str) -> datetime:
    """The wall time of a zone, said to be UTC, which is how moments are written."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=UTC)


def _to_the_minute(wall: datetime) -> str:
    return filters.moment(wall).removesuffix(" UTC")


def words_of(key: str) -> str:
    """A name that programs use, as a title."""
    words = key.replace("_", " ").replace("-", " ").split()
    said = " ".join(_WHOLE_WORDS.get(word.lower(), word) for word in words)
    return f"{said[:1].upper()}{said[1:]}"
