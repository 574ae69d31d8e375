"""Settling a ledger on disk, as commands do it: which catalog, up to when, alone, with its progress shown.

Owns that choice. Does not own closing (`dataflows.settlement`). The rule: nothing is closed that input may change: a
ledger that a topic feeds is settled up to its progress at most; files that were read have nothing more to say.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from dataflows.catalog_history import CatalogHistory
from dataflows.catalog_versions import CatalogVersions
from dataflows.errors import RatemillError
from dataflows.housekeeping import housekeeping
from dataflows.ledger.folder import LedgerFolder, existing_folder, take_lock
from dataflows.moments import moment_text, now
from dataflows.settings import Settings
from dataflows.settlement.alone import settling_alone
from dataflows.settlement.closing import Closer, SettlementProgress
from dataflows.settlement.reading import Completeness, look
from ops.invoices.records import Invoice, find_invoice, invoice_of
from ops.ledger_views import open_ledger
from rating.catalog import compile_catalog
from rating.due import Moments
from rating.periods import microseconds
from rating.settle import Tariff
from schemas.catalog import Catalog
from schemas.invoices import InvoiceState


def settle_ledger(
    ledger: Path,
    settings: Settings,
    catalog: Catalog | None = None,
    as_of: datetime | None = None,
    on_progress: Callable[[SettlementProgress], None] = lambda progress: None,
) -> SettlementProgress:
    """Close every period that is over by `as_of`; without it, by the ledger's progress, or now if files feed it.

    Without a catalog, the one in force takes its place. RatemillError says what stands in the way.
    """
    folder = existing_folder(ledger)
    with settling_alone(folder), _still(folder), look(folder.root) as reader:
        facts = reader.completeness(folder.shape.writers)
        moment = _moment(folder, facts, as_of)
        tariff = _tariff(folder, facts, catalog, moment)
        closer = Closer(folder, tariff, housekeeping(settings), on_progress)
        closer.progress.strangers = reader.strangers(closer.subscriptions)
        closer.close(Moments.both(moment), folder.settlement_writers())
        return closer.progress


def correct_invoice(
    ledger: Path, settings: Settings, name: str, catalog: Catalog | None = None, as_of: datetime | None = None
) -> tuple[str, str]:
    """Make an invoice anew, from what ledger and catalog say now; gives its number and that of the one in its place.

    `name` is as `ratemill invoice` takes it. RatemillError says why it cannot be: it is paid, or voided already.
    """
    folder = existing_folder(ledger)
    with settling_alone(folder), _still(folder):
        with look(folder.root) as reader:
            facts = reader.completeness(folder.shape.writers)
        with open_ledger(ledger) as connection:
            head = _correctable(find_invoice(connection, ledger, name))
        moment = _moment(folder, facts, as_of)
        closer = Closer(folder, _tariff(folder, facts, catalog, moment), housekeeping(settings))
        closer.correct(head["subscription_id"], head["period"], head["revision"], moment)
        with open_ledger(ledger) as connection:
            replacement = find_invoice(connection, ledger, head["invoice_id"]).replaced_by
    assert replacement is not None, "a correction that was published is there"
    return head["number"], replacement


def draft_invoice(
    ledger: Path,
    settings: Settings,
    subscription_id: str,
    catalog: Catalog | None = None,
    as_of: datetime | None = None,
) -> Invoice:
    """What the invoice of a subscription's open period would say if that ended now; nothing is written.

    RatemillError says why there is none: the subscription is unknown, has ended, or nothing is owed so far.
    """
    folder = existing_folder(ledger)
    with look(folder.root) as reader:
        facts = reader.completeness(folder.shape.writers)
    moment = _moment(folder, facts, as_of)
    closer = Closer(folder, _tariff(folder, facts, catalog, moment), housekeeping(settings))
    made = closer.draft(subscription_id, moment)
    if made.invoices.is_empty():
        raise RatemillError(f"subscription {subscription_id} owes nothing so far: it has no invoice to come")
    head = made.invoices.sort("period").to_dicts()[-1]
    own = made.invoice_lines.filter(pl.col("invoice_id") == head["invoice_id"]).sort("line_number")
    return invoice_of(head, tuple(own.to_dicts()), drafted_at=moment)


def _correctable(invoice: Invoice) -> Mapping[str, Any]:
    number = invoice.head["number"]
    if invoice.state == InvoiceState.VOIDED:
        raise RatemillError(f"invoice {number} is voided: {invoice.replaced_by} took its place; correct that one")
    if invoice.state == InvoiceState.PAID:
        raise RatemillError(f"invoice {number} is paid, and stays: give money back by a refund in the catalog")
    return invoice.head


@contextmanager
def _still(folder: LedgerFolder) -> Iterator[None]:
    """Files are not being rated meanwhile; a topic may be, for its progress says how far it is complete."""
    if folder.topic.exists():
        yield
        return
    handle = take_lock(folder, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(handle)


def _moment(folder: LedgerFolder, facts: Completeness, as_of: datetime | None) -> int:
    asked = None if as_of is None else microseconds(as_of)
    if not folder.topic.exists():
        return now() if asked is None else asked
    if facts.progress is None:
        raise RatemillError(
            f"the ledger {folder.root} is not complete up to any moment yet: let `ratemill run rating` run"
        )
    if asked is not None and asked > facts.progress:
        raise RatemillError(
            f"the ledger {folder.root} is complete up to {moment_text(facts.progress)} only, and events up to"
            f" {moment_text(asked)} may still come: let `ratemill run rating` run, or name an earlier time"
        )
    return facts.progress if asked is None else asked


def _tariff(folder: LedgerFolder, facts: Completeness, catalog: Catalog | None, moment: int) -> Tariff:
    history = CatalogHistory(folder.root)
    if catalog is not None:
        compiled = compile_catalog(catalog)
        history.keep(catalog, compiled.digest)
        return Tariff.of(catalog, compiled)
    versions = CatalogVersions(history)
    digest = versions.at(moment) if history.versions() else facts.catalog
    if not digest:
        raise RatemillError(f"no catalog is known to the ledger {folder.root}: name one with --catalog")
    return Tariff.of(history.catalog(digest), versions.compiled(digest))
