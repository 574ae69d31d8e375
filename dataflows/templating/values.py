"""The values that a notification gives to the variables of its templates.

Owns the step from a row of the ledger and the catalog to one value per variable of the row's kind. The rule: every
variable gets a value; what is missing or cannot be read is null and named among the faults, never an exception.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from dataflows.templating.language import UNPRINTABLE
from schemas.catalog import Catalog, Organization, Product
from schemas.decimals import LEDGER_PRECISION, QUANTITY_SCALE, format_scaled, scaled
from schemas.fields import describe, read_decimal
from schemas.notification_variables import VARIABLES, Variable
from schemas.products import NotificationKind

# With these the built-in wording stays within the bound of an output, whatever a notification says.
LONGEST_VALUE = 2_000
MOST_LINES = 100

_WEB = re.compile(r"https?://[^\s]+", re.IGNORECASE)
_SECURE = re.compile(r"https://[^\s]+", re.IGNORECASE)
_details = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


@dataclass(frozen=True, slots=True)
class Parties:
    """Whom a catalog knows, by what notifications call them; `logo_url` is what the names of logos are joined to."""

    organizations: Mapping[str, Organization]
    products: Mapping[tuple[str, str], Product]
    subscribers: Mapping[str, str | None]
    logo_url: str | None

    @classmethod
    def of(cls, catalog: Catalog, logo_url: str | None) -> "Parties":
        """Those of a catalog."""
        return cls(
            {one.id: one for one in catalog.organizations},
            {(one.id, one.version): one for one in catalog.products},
            {one.email: one.name for one in catalog.subscribers},
            logo_url,
        )


@dataclass(slots=True)
class Values:
    """One value per variable, and what was wrong with what they were read from."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def values_of(kind: NotificationKind, row: Mapping[str, Any], parties: Parties) -> Values:
    """The variables of a row; decimals are Decimals, moments aware, records and lists plain dicts and lists."""
    found = Values()
    details = _details_of(row.get("details"), found)
    for one in VARIABLES[kind]:
        match one.origin:
            case "column":
                found.values[one.name] = _value(row.get(one.name), one, one.name, found)
            case "details":
                found.values[one.name] = _value(details.get(one.name), one, f"details.{one.name}", found)
            case "catalog" | "computed":
                pass
    found.values |= {
        "subscriber_name": _text(parties.subscribers.get(row.get("subscriber") or "")),
        "organization": _organization(row.get("organization_id"), parties),
        "product": _product(row.get("product_id"), row.get("product_version"), parties),
    }
    found.values |= _computed(kind, found.values, details)
    return found


def least_known(kind: NotificationKind, values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with as little known as can be: whatever may be null is, and lists are empty."""
    least: dict[str, Any] = {}
    for one in VARIABLES[kind]:
        match one.type:
            case "record":
                least[one.name] = dict.fromkeys(part.name for part in one.members)
            case "list":
                least[one.name] = []
            case _:
                least[one.name] = None if one.optional else values[one.name]
    return least


def _members(kind: NotificationKind, name: str) -> tuple[Variable, ...]:
    return next(one.members for one in VARIABLES[kind] if one.name == name)


def _details_of(details: Any, found: Values) -> Mapping[str, Any]:
    if details is None:
        return {}
    if isinstance(details, Mapping):
        return details
    try:
        return _details.decode(details)
    except (msgspec.MsgspecError, TypeError, UnicodeError) as error:
        found.faults.append(f"its details are no JSON object: {error}")
        return {}


def _value(given: Any, one: Variable, place: str, found: Values) -> Any:
    """A value as its variable's type; null, and a fault, when it is none."""
    if one.type == "list":
        return _list(given, one, place, found)
    if given is None:
        if not one.optional:
            found.faults.append(f"it has no '{place}'")
        return None
    try:
        return _read(given, one)
    except ValueError as error:
        found.faults.append(f"its '{place}' cannot be used: {error}")
        return None


def _read(given: Any, one: Variable) -> Any:
    match one.type, given:
        case "text", str():
            return _text(given)
        case (("quantity" | "amount"), _):
            return read_decimal(given)
        case "count", int() if not isinstance(given, bool):
            return given
        case "flag", bool():
            return given
        case "moment", datetime() if given.tzinfo is not None:
            return given.astimezone(UTC)
        case "moment", str():
            return _moment(given)
        case _:
            raise ValueError(f"expected {_EXPECTED[one.type]}, not {describe(given)}")


_EXPECTED = {"text": "text", "count": "a whole number", "flag": "true or false", "moment": "a time with a zone"}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"'{text[:40]}' is not a time with a zone, such as \"2026-11-01T00:00:00Z\"")
    return moment.astimezone(UTC)


def _list(given: Any, one: Variable, place: str, found: Values) -> list[dict[str, Any]]:
    items = [] if given is None else given
    if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
        found.faults.append(f"its '{place}' is no list of parts")
        return []
    return [
        {part.name: _value(item.get(part.name), part, f"{place}[{index}].{part.name}", found) for part in one.members}
        for index, item in enumerate(items[:MOST_LINES])
    ]


def _text(text: str | None) -> str | None:
    """A text that can be written into a mail: bounded, without control characters other than its line ends."""
    if text is None:
        return None
    shortened = text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
    return UNPRINTABLE.sub("", shortened.replace("\r", ""))


def _organization(name: str | None, parties: Parties) -> dict[str, str | None]:
    one = parties.organizations.get(name or "")
    stated = one.model_dump() if one is not None else {}
    storefront = stated.get("storefront_url") or ""
    known = {
        **stated,
        "id": name,
        "name": stated.get("name") or name,
        "storefront_url": storefront if _WEB.fullmatch(storefront) else None,
        "logo_url": logo_address(stated.get("logo"), parties.logo_url),
    }
    return {part.name: _text(known.get(part.name)) for part in _members("event_parked", "organization")}


def _product(name: str | None, version: str | None, parties: Parties) -> dict[str, str | None]:
    one = parties.products.get((name or "", version or ""))
    stated = {} if one is None else {key: getattr(one, key) for key in ("name", "code", "description", "currency")}
    known = {**stated, "id": name, "version": version, "name": stated.get("name") or name}
    return {part.name: _text(known.get(part.name)) for part in _members("event_parked", "product")}


def logo_address(logo: str | None, base: str | None) -> str | None:
    """Where a logo is: an https address stays, a name is joined to the base; None when there is no such address.

    >>> logo_address("acme.png", "https://static.example/logos/")
    'https://static.example/logos/acme.png'
    """
    if logo is None or _SECURE.fullmatch(logo):
        return logo
    if base is None or ":" in logo.partition("/")[0]:
        return None
    return f"{base.rstrip('/')}/{quote(logo.lstrip('/'))}"


def _computed(kind: NotificationKind, values: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in VARIABLES[kind] if one.origin == "computed"}
    computed: dict[str, Any] = {}
    if "remaining" in names:
        computed["remaining"] = _remaining(values["limit"], values["usage_after"])
    if "lines_left_out" in names:
        lines = details.get("lines")
        computed["lines_left_out"] = max(len(lines) - MOST_LINES, 0) if isinstance(lines, list | tuple) else 0
    return computed


def _remaining(limit: Decimal | None, usage: Decimal | None) -> Decimal | None:
    if limit is None or usage is None:
        return None
    # In whole units, for the difference of two Decimals depends on the ambient context.
    units = [scaled(value, QUANTITY_SCALE, LEDGER_PRECISION - QUANTITY_SCALE) for value in (limit, usage)]
    if units[0] is None or units[1] is None:
        return None
    return Decimal(format_scaled(max(units[0] - units[1], 0), QUANTITY_SCALE))
