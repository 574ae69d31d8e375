"""Why a line of an invoice is what it is, in plain sentences: down to the line items it sums, or to the catalog.

Owns: the sentences. Does not own: reading the ledger (its rows come as mappings by column name) or settling. The rule:
each amount is derived again beside the ledger's own, and a sentence says so if they should ever differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rating.expand import ExpandedCharge, ExpandedProduct
from rating.explain import meter_text, moment_text
from rating.explain_fees import (
    Derived,
    amount_text,
    amount_units,
    expanded_product,
    fee_on_purchase,
    recurring_fee,
    spend_bound,
)
from rating.explain_price import decimal_text, tier_text
from rating.terms import flat_at_zero
from schemas.catalog import Catalog
from schemas.currencies import MINOR_UNITS
from schemas.decimals import LEDGER_PRECISION, QUANTITY_SCALE, scaled
from schemas.invoices import OF_LINE_ITEMS, LineKind

Row = Mapping[str, Any]

SUMMED = tuple(kind.label for kind in OF_LINE_ITEMS)
SPENDS = (LineKind.MINIMUM_SPEND.label, LineKind.MAXIMUM_SPEND.label)
_MEANING = {
    "usage": "usage at the price of its tier",
    "reprice": "usage that was priced before its total came to lie in this tier, by the difference in price",
    "tier_flat": "the flat amount of the tier, due once usage enters it",
    "fixed_amount": "the fixed amount of each event",
    "minimum_amount": "the least amount of events whose share came to less",
    "maximum_amount": "the greatest amount of events whose share came to more",
}


@dataclass(frozen=True, slots=True)
class Items:
    """The line items that a line of an invoice sums: how many, of how many events, their sums and prices.

    `first` are the ids of the first ones, `query` is the SQL that finds all of them; `usage` is all that the charge has
    met in the period.
    """

    lines: int
    events: int
    quantity: Decimal
    amount: Decimal
    price_least: Decimal | None
    price_most: Decimal | None
    first: Sequence[str]
    query: str
    usage: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the ledger says beside a line: its invoice, the line items of its charge, and lines of invoices.

    `before` are those of earlier invoices for the same, `bounded` those whose amounts a spend bounds (each with the
    `number` of its invoice, `exact_amount` and `amount`), `refunded` is the invoice that a refund is of.
    """

    invoice: Row
    items: Items | None
    before: Sequence[Row]
    bounded: Sequence[Row]
    refunded: Row | None


def explain_invoice(invoice: Row, lines: Sequence[Row]) -> list[str]:
    """What an invoice is for, and its total."""
    sentences = [
        f"Invoice {invoice['number']} bills subscription {invoice['subscription_id']} of {invoice['subscriber']} for"
        f" product {invoice['product_id']}@{invoice['product_version']}, {_period(invoice)}.",
        f"It was issued at {moment_text(invoice['issued_at'])}, with the catalog {invoice['catalog_digest']}.",
        f"Its total is the sum of its rounded lines: {_added(lines)} = {_money(invoice['total'], invoice)}.",
    ]
    if invoice["voids"] is not None:
        sentences.append(f"It takes the place of invoice {invoice['voids']}.")
    return sentences


def explain_invoice_line(line: Row, evidence: Evidence, catalog: Catalog) -> list[str]:
    """Every number of an invoice's line."""
    invoice = evidence.invoice
    sentences = [
        f"Line {line['line_number']} of invoice {invoice['number']} ({line['description']}) charges subscription"
        f" {line['subscription_id']}, {_period(line)}."
    ]
    product = expanded_product(line, catalog)
    if line["line_kind"] != LineKind.REFUND.label and product is None:
        missing = f"{line['product_id']}@{line['product_version']}"
        sentences.append(f"The given catalog does not have product {missing}, so its prices cannot be explained.")
    match line["line_kind"]:
        case "refund":
            derived = _refund(line, evidence, catalog)
        case "proration" if line["adjusts"] != LineKind.RECURRING_FEE.label:
            sentence = "The subscription ended within its trial, before it came to pay, so nothing of that fee is due."
            derived = _difference(line, evidence, Derived(0, (sentence,)))
        case "adjustment" | "proration":
            derived = _difference(line, evidence, _owed(line, line["adjusts"], evidence, product, catalog))
        case kind:
            derived = _owed(line, kind, evidence, product, catalog)
    sentences += _checked(line, derived)
    sentences.append(_rounding(line, evidence.before if line["adjusts"] else ()))
    if evidence.items is not None and evidence.items.lines:
        sentences.append(_listing(evidence.items))
    return sentences


def _owed(line: Row, kind: str, evidence: Evidence, product: ExpandedProduct | None, catalog: Catalog) -> Derived:
    """What is owed in all for what the line is for."""
    unknown = Derived(amount_units(line["exact_amount"]) + _sum(evidence.before, "exact_amount"), ())
    if kind in SUMMED:
        return _metered(line, kind, evidence.items, product)
    if product is None:
        return unknown
    if kind in SPENDS:
        bound = spend_bound(line, kind, product, catalog)
        return _spend(line, kind, bound, evidence.bounded) if bound else unknown
    fee = recurring_fee(line, product, catalog) if kind == "recurring_fee" else fee_on_purchase(line, product)
    return fee or Derived(unknown.units, ("The given catalog does not have that fee.",))


def _metered(line: Row, kind: str, items: Items | None, product: ExpandedProduct | None) -> Derived:
    sentences = []
    charge = next((one for one in product.charges if one.id == line["charge_id"]), None) if product else None
    if charge is not None:
        tier = tier_text(line["tier"] or 0, charge)
        sentences.append(f"Charge {charge.id} {meter_text(charge.meter)}. This is {_MEANING[kind]}: {tier}.")
    flat = _flat_at_zero(kind, line, charge, items)
    if items is None or not items.lines:
        sentences.append(
            "No line item makes it: the price says that its first tier's flat amount is due without usage too."
        )
        return Derived(flat or amount_units(line["unit_price"] or line["exact_amount"]), tuple(sentences))
    lines = "one line item" if items.lines == 1 else f"{items.lines} line items"
    events = "one event" if items.events == 1 else f"{items.events} events"
    quantity, amount = decimal_text(items.quantity), _money(items.amount, line)
    least, most = (decimal_text(price or Decimal(0)) for price in (items.price_least, items.price_most))
    at = f"each at unit price {least}" if least == most else f"at unit prices from {least} to {most}"
    sentences.append(f"It sums {lines} of {events}: a quantity of {quantity}, {at}, exactly {amount}.")
    if flat:
        sentences.append(
            "In the end the period has no usage beyond what is included, and the price says that the flat amount of its"
            f" first tier, {amount_text(flat)} {line['currency']}, is due all the same."
        )
    return Derived(amount_units(items.amount) + flat, tuple(sentences))


def _flat_at_zero(kind: str, line: Row, charge: ExpandedCharge | None, items: Items | None) -> int:
    """The flat amount (10^-18) that is due because a period has no usage but what is included; 0 if none is."""
    if charge is None or kind != LineKind.TIER_FLAT.label or line["tier"] != 1:
        return 0
    included, flat = flat_at_zero(charge.price)
    used = scaled(items.usage, QUANTITY_SCALE, LEDGER_PRECISION) if items is not None else 0
    return flat if used is not None and used <= included else 0


def _spend(line: Row, kind: str, bound: Derived, bounded: Sequence[Row]) -> Derived:
    used = _sum(bounded, "amount")
    rest = bound.units - used
    owed = max(0, rest) if kind == "minimum_spend" else min(0, rest)
    verb = "lifts them up" if kind == "minimum_spend" else "cuts them down"
    return Derived(
        owed,
        (
            *bound.sentences,
            f"The rounded lines of usage for that period sum to {_added(bounded)} = {amount_text(used)}"
            f" {line['currency']}; the line {verb} to the bound: {amount_text(bound.units)} - {_bracketed(used)}"
            f" = {amount_text(rest)}.",
        ),
    )


def _difference(line: Row, evidence: Evidence, owed: Derived) -> Derived:
    """What is owed in all, less what was invoiced before."""
    before = _sum(evidence.before, "exact_amount")
    numbers = " and ".join(
        f"{amount_text(amount_units(row['exact_amount']))} on invoice {row['number']}" for row in evidence.before
    )
    rest = owed.units - before
    return Derived(
        rest,
        (
            *owed.sentences,
            f"Invoiced for that before: {numbers or 'nothing'}. The difference stands here:"
            f" {amount_text(owed.units)} - {_bracketed(before)} = {amount_text(rest)} {line['currency']}.",
        ),
    )


def _refund(line: Row, evidence: Evidence, catalog: Catalog) -> Derived:
    exact = amount_units(line["exact_amount"])
    refund = next((one for one in catalog.refunds if one.id == line["refund_id"]), None)
    if refund is None:
        return Derived(exact, (f"The given catalog does not have refund {line['refund_id']}.",))
    of, where = f"invoice {refund.invoice}", "the first invoice of the subscription that was made since"
    refunded = evidence.refunded
    if refunded is not None and refunded["invoice_id"] == evidence.invoice["invoice_id"]:
        where = "that invoice itself, of which it named the draft"
    elif refunded is not None:
        of += f" ({refunded['number']}, over {_money(refunded['total'], refunded)})"
    amount = amount_text(amount_units(refund.amount))
    return Derived(
        -amount_units(refund.amount),
        (
            f"Refund {refund.id} of {moment_text(refund.issued_at)} gives back {amount} {line['currency']} of {of}; it"
            f" stands on {where}.",
            *([f"Its note says: {refund.note}."] if refund.note else []),
        ),
    )


def _checked(line: Row, derived: Derived) -> list[str]:
    """The sentences that derive an amount, and one more if the ledger has another."""
    exact = amount_units(line["exact_amount"])
    if derived.units == exact:
        return list(derived.sentences)
    return [
        *derived.sentences,
        f"That is {amount_text(derived.units)} now, and this line says {amount_text(exact)} {line['currency']}: what"
        " changed since it was issued is on later invoices, or is still to be settled.",
    ]


def _rounding(line: Row, before: Sequence[Row]) -> str:
    """How the amount comes from all the digits; of differences both sides are rounded, each once."""
    digits, currency = MINOR_UNITS[line["currency"]], line["currency"]
    exact, amount = amount_units(line["exact_amount"]), _money(line["amount"], line)
    how = f"to {digits} digits, half away from zero" if digits else f"to whole {currency}, half away from zero"
    if not line["adjusts"]:
        return f"Exactly {amount_text(exact)} {currency}; rounded once {how}, that is {amount}."
    invoiced = _sum(before, "amount")
    owed = amount_text(amount_units(line["amount"]) + invoiced)
    return (
        f"What is owed is rounded once {how}, to {owed}, of which {amount_text(invoiced)} was invoiced:"
        f" {owed} - {_bracketed(invoiced)} = {amount} (exactly {amount_text(exact)})."
    )


def _listing(items: Items) -> str:
    ids = ", ".join(items.first)
    if items.lines == 1:
        return f"The line item is {ids}: see `ratemill explain {ids}`."
    if items.lines <= len(items.first):
        return f"The line items are {ids}: see `ratemill explain` for each."
    return f'The first of the line items are {ids}; all of them: `ratemill sql "{items.query}"`.'


def _period(row: Row) -> str:
    start, end = moment_text(row["period_start"]), row["period_end"]
    if row["period"] == 0:
        return f"as of {start}, when it begins to pay"
    until = f"to {moment_text(end)}, end excluded" if end is not None else "on, without an end"
    return f"for settlement period {row['period']}, from {start} {until}"


def _added(rows: Sequence[Row]) -> str:
    """The amounts of rows as a sum: 10 + 2 - 0.5."""
    text = " + ".join(decimal_text(row["amount"]) for row in rows) or "0"
    return text.replace("+ -", "- ")


def _sum(rows: Sequence[Row], column: str) -> int:
    return sum(amount_units(row[column]) for row in rows)


def _bracketed(units: int) -> str:
    return f"({amount_text(units)})" if units < 0 else amount_text(units)


def _money(amount: Decimal, row: Row) -> str:
    return f"{decimal_text(amount)} {row['currency']}"
