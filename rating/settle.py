"""Settlement: periods that are over become invoices, from what the ledger says and nothing else (semantics 8).

`settle` is the recipe: number → check → compare with what was invoiced → lines → invoices. It is pure: the same ledger
and catalog give the same invoices, and once these are in the ledger nothing is owed any more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from rating import invoice_rows
from rating.book import Book, number_invoiced, number_lines
from rating.catalog import CompiledCatalog
from rating.due import Due, paid_from, without
from rating.fees import Seller
from rating.owed import LINES, changed_periods, of_periods, owed_lines, usage_owed
from rating.periods import microseconds
from rating.prices import Index, Mask
from rating.settlement_checks import Wait, misfits, refunds_at_fault, too_large, unexplained, vanished
from rating.settlement_notices import notices_of
from rating.terms import NO_CHARGE, compile_terms
from schemas.catalog import Catalog, Refund
from schemas.decimals import divide_half_away, scaled_amount
from schemas.invoices import LineKind


@dataclass(frozen=True, slots=True)
class Tariff:
    """A catalog as settlement uses it: as written, compiled with its terms, and who pays organizations' setup fees."""

    catalog: Catalog
    seller: Seller
    setup_payers: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, catalog: Catalog, compiled: CompiledCatalog) -> "Tariff":
        """The tariff of a catalog that passed the lint."""
        seller = Seller(compiled, compile_terms(catalog, compiled.products.first_charge))
        return cls(catalog, seller, _setup_payers(seller))


@dataclass(frozen=True, slots=True)
class Settlement:
    """Rows of the ledger tables with these names, columns and types as in `schemas.ledger`.

    Rows of `notifications` follow from the others and are made by `notices`, in whatever thread asks for them.
    """

    invoices: pl.DataFrame
    invoice_lines: pl.DataFrame
    settled_periods: pl.DataFrame
    notices: Callable[[], pl.DataFrame]

    def tables(self) -> dict[str, pl.DataFrame]:
        """The rows by the name of their table."""
        return self.without_notices() | {"notifications": self.notices()}

    def without_notices(self) -> dict[str, pl.DataFrame]:
        """The rows of all tables but `notifications`."""
        return {name: getattr(self, name) for name in ("invoices", "invoice_lines", "settled_periods")}


def settle(tariff: Tariff, due: Due, book: Book, certificate: str) -> Settlement:
    """What becomes of these periods. The book must tell all of their subscriptions; `certificate` is JSON text."""
    seller = tariff.seller
    numbered = number_lines(book.summed, seller.catalog)
    invoiced = number_invoiced(book.invoiced, seller.catalog)
    usage = usage_owed(numbered.lines, seller)
    periods = changed_periods(usage, invoiced, due)
    differing = list(unexplained(of_periods(usage, periods), seller.catalog))
    waits = _of_due(
        due,
        [
            *misfits(
                seller,
                book,
                numbered,
                np.unique(due.subscription),
                frozenset(one.id for one in tariff.catalog.organizations),
            ),
            *too_large(numbered.lines),
            *vanished(usage, invoiced),
            *differing,
            *refunds_at_fault(list(tariff.catalog.refunds), book, seller.catalog),
        ],
    )
    waiting = np.array(sorted(waits), np.int64)
    open_due = without(due, waiting)
    clear = periods.filter(~pl.col("subscription").is_in(waiting))
    pays = pays_setup(tariff, open_due, book.setup_paid_by)
    lines = owed_lines(seller, open_due, usage, clear, invoiced, book.settled, pays)
    lines = pl.concat([lines, _refunds(tariff, open_due, book, lines)])
    bills = invoice_rows.bills(tariff.catalog, seller, open_due, lines, numbered.lines, certificate)
    return Settlement(
        bills.invoices,
        bills.lines,
        invoice_rows.settled_rows(seller, open_due, bills, due, waits),
        partial(notices_of, seller, open_due, bills),
    )


def _of_due(due: Due, waits: Iterable[Wait]) -> dict[int, Wait]:
    """The first reason of each subscription that has periods due."""
    concerned = set(due.subscription.tolist())
    found: dict[int, Wait] = {}
    for wait in waits:
        if wait.subscription in concerned:
            found.setdefault(wait.subscription, wait)
    return found


def _setup_payers(seller: Seller) -> dict[tuple[str, str], str]:
    """By organization and product, where a setup fee is due once per organization: the subscription that begins to pay
    first, which pays it. One that ends before, in its trial, never pays.
    """
    columns = seller.catalog.subscriptions
    begin = paid_from(seller.catalog, np.arange(len(columns.ids)))
    pays = seller.terms.setup_once_per_organization[columns.product] & (begin < columns.life[:, 1])
    first: dict[tuple[str, str], tuple[int, str]] = {}
    for row in np.flatnonzero(pays).tolist():
        key = _setup_key(seller, row)
        if key is not None:
            own = (int(begin[row]), str(columns.ids[row]))
            first[key] = min(first.get(key, own), own)
    return {key: name for key, (_, name) in first.items()}


def _setup_key(seller: Seller, row: int) -> tuple[str, str] | None:
    organization = seller.catalog.subscriptions.organization[row]
    product = int(seller.catalog.subscriptions.product[row])
    return None if organization is None else (organization, seller.catalog.products.ids[product])


def pays_setup(tariff: Tariff, due: Due, paid_by: Mapping[tuple[str, str], str]) -> Mask:
    """Which of the subscriptions that open pay a setup fee; where it is due once per organization, one of them does.

    `paid_by` names the subscription that has paid it already, by organization and product.
    """
    seller = tariff.seller
    opening = due.subscription[due.opens]
    pays = np.ones(len(opening), np.bool_)
    for place in np.flatnonzero(seller.terms.setup_once_per_organization[seller.product_of(opening)]).tolist():
        row = int(opening[place])
        key = _setup_key(seller, row)
        if key is not None:
            pays[place] = paid_by.get(key, tariff.setup_payers[key]) == seller.catalog.subscriptions.ids[row]
    return pays


def _refunds(tariff: Tariff, due: Due, book: Book, lines: pl.DataFrame) -> pl.DataFrame:
    """A line for each refund that no invoice has yet: on the first due invoice that is not earlier than the refund, or
    on the one that it names, if that is made now and comes to as much.
    """
    seller = tariff.seller
    rows = seller.catalog.subscription_rows
    owner = {row["invoice_id"]: row["subscription_id"] for row in book.refunded.iter_rows(named=True)}
    open_refunds = [one for one in tariff.catalog.refunds if one.id not in book.refunds_done]
    drafts = _drafts(seller, due, lines) if any(one.invoice not in owner for one in open_refunds) else {}
    made = []
    for refund in open_refunds:
        subscription = rows.get(owner.get(refund.invoice, ""))
        units = scaled_amount(refund.amount)
        if subscription is not None:
            on = _first_after(due, subscription, refund)
        else:
            subscription, on, left = drafts.get(refund.invoice, (0, None, 0))
            on = on if units <= left else None
        if on is not None:
            minor = seller.terms.minor[int(seller.product_of(np.array([subscription]))[0])]
            rounded = divide_half_away(-units, minor) * minor
            kind = int(LineKind.REFUND)
            made.append((subscription, on, kind, NO_CHARGE, 0, None, None, -units, rounded, on, None, refund.id))
            if refund.invoice in drafts:
                drafts[refund.invoice] = (subscription, on, drafts[refund.invoice][2] - units)
    return pl.DataFrame(made, schema=LINES, orient="row")


def _drafts(seller: Seller, due: Due, lines: pl.DataFrame) -> dict[str, tuple[int, int | None, int]]:
    """By the id of each invoice that may be made now: its subscription, its number, and what it comes to."""
    rows = due.take(np.flatnonzero(due.closes & (due.revision == 0)))
    sums = lines.group_by("subscription", "on").agg(pl.col("rounded").sum())
    comes_to = {(one[0], one[1]): one[2] for one in sums.iter_rows()}
    ids = invoice_rows.invoice_ids(seller, rows)
    places = zip(ids, rows.subscription.tolist(), rows.number.tolist(), strict=True)
    return {name: (subscription, on, comes_to.get((subscription, on), 0)) for name, subscription, on in places}


def _first_after(due: Due, subscription: int, refund: Refund) -> int | None:
    rows: Index = np.flatnonzero((due.subscription == subscription) & (due.closes | due.supplements))
    moment = microseconds(refund.issued_at)
    return next((int(due.number[row]) for row in rows.tolist() if due.issued[row] >= moment), None)
