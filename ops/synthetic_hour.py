"""The hour of test subscriptions in accelerated event time: its transactions as a file, its totals before and after.

Owns what is compared. Does not own the transactions (`rating.synthetic`) or settling (`ops.settling`). The rule: what
was known beforehand comes from the catalog and the transactions alone, what was invoiced from the ledger alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from ops.ledger_views import open_ledger
from ops.output import text_of
from ops.query import ask
from rating.synthetic import Simulation, transactions
from rating.synthetic_totals import hour_total, totals
from schemas.currencies import MINOR_UNITS
from schemas.decimals import AMOUNT_SCALE, format_scaled

_INVOICED = """
    SELECT subscription_id, sum(exact_amount) AS exact_amount, sum(amount) AS amount
    FROM invoice_lines WHERE subscription_id IN (SELECT unnest(?)) GROUP BY ALL
"""
_INVOICES = """
    SELECT invoice_id, number, period_start, period_end, lines, total, currency
    FROM invoices WHERE subscription_id IN (SELECT unnest(?)) ORDER BY subscription_id, period
"""
_NOTIFICATIONS = """
    SELECT kind, count(*) FILTER (subscription_id IN (SELECT unnest(?))) AS test_subscriptions, count(*) AS all_of_them
    FROM notifications GROUP BY ALL ORDER BY kind
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """The hour of one subscription; None where the total cannot be known beforehand.

    `exact` has all digits, `invoiced` is what the invoices say, rounded line by line.
    """

    subscription: str
    product: str
    test_mode: str
    transactions: int
    known: Decimal | None
    exact: Decimal
    invoiced: Decimal
    currency: str

    @property
    def differs(self) -> bool:
        """Whether the invoices are not what was known."""
        return self.known is not None and self.known != self.exact


def write_hour(made: Sequence[Simulation], file: Path) -> dict[str, int]:
    """All transactions in the order of time; gives their number by subscription."""
    found = [one for each in made for period in range(each.periods) for one in transactions(each, period)]
    found.sort(key=lambda one: one.moment)
    counts = {each.subscription.id: 0 for each in made}
    with open(file, "wb") as out:
        for one in found:
            counts[one.event["subscription"]] += 1
            out.write(orjson.dumps(one.event) + b"\n")
    return counts


def decimal_of(units: int) -> Decimal:
    """Units of 10^-18 as the amount that they are."""
    return Decimal(format_scaled(units, AMOUNT_SCALE))


def amount_text(value: Decimal, currency: str) -> str:
    """With the minor units of its currency, and more digits where it has them.

    >>> amount_text(Decimal("12.5"), "USD"), amount_text(Decimal("500"), "JPY")
    ('12.50 USD', '500 JPY')
    """
    whole, _, fraction = text_of(value).partition(".")
    digits = fraction.ljust(MINOR_UNITS[currency], "0")
    return f"{whole}.{digits} {currency}" if digits else f"{whole} {currency}"


def compare(made: Sequence[Simulation], counts: dict[str, int], ledger: Path) -> list[Compared]:
    """Each hour as it was known, and as it was invoiced."""
    rows = {row["subscription_id"]: row for row in _ask(made, ledger, _INVOICED)}
    found = []
    for each in made:
        name = each.subscription.id
        row = rows.get(name, {"exact_amount": Decimal(0), "amount": Decimal(0)})
        known = hour_total(each, totals(each))
        found.append(
            Compared(
                name,
                each.product.reference,
                str(each.product.settlement_period),
                counts[name],
                None if known is None else decimal_of(known),
                row["exact_amount"],
                row["amount"],
                each.product.currency,
            )
        )
    return found


def invoices_of(made: Sequence[Simulation], ledger: Path) -> list[dict[str, Any]]:
    """The invoices of these subscriptions, period by period."""
    return _ask(made, ledger, _INVOICES)


def notifications_by_kind(made: Sequence[Simulation], ledger: Path) -> list[dict[str, Any]]:
    """How many notifications of each kind there are, and how many of them concern these subscriptions."""
    return _ask(made, ledger, _NOTIFICATIONS)


def _ask(made: Sequence[Simulation], ledger: Path, query: str) -> list[dict[str, Any]]:
    with open_ledger(ledger) as connection:
        return ask(connection, query, [[each.subscription.id for each in made]]).records
