"""The catalog, compiled once to immutable columns: who is charged, by which charges, at which prices.

Owns the expansion to columns and the look-up of names. Does not own checks: what comes here has passed `rating.lint`.
Subscriptions, products and charges are rows; a number that names one of them is its row.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from rating.charges import Charges, compile_charges
from rating.expand import expand
from rating.foreign import ForeignSource, foreign_sources
from rating.hashing import stable_hashes
from rating.lookup import NameRows
from rating.periods import ENDLESS, Index, PeriodClocks, Times, fixed_length, microseconds, month_length
from rating.thresholds import Thresholds, compile_thresholds
from schemas.catalog import Catalog, Product, Subscription

_DAY = 86_400_000_000
_TEST_MODE_LENGTH = 3_600_000_000
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """All subscriptions. `life` (n, 4) int64 is start, end, end of the trial, and the row of its clock in `clocks`.

    Times are microseconds UTC. The end (exclusive; ENDLESS if open) is the effective one: the earliest of the
    `stated_end`, the cancellation (said at `cancelled_at`, ENDLESS if not), and the end of the test hour. What is asked
    together lies together: of a million subscriptions each row costs a wait for memory.
    `id_hash` (uint32) is the CRC-32 of the id, which decides the key group. `hashes` (n, 2) uint64 stand for the ids
    where they must stay the same under every catalog; `by_hash` are the rows in the order of their first halves.
    """

    ids: pl.Series
    product: Index
    life: npt.NDArray[np.int64]
    stated_end: Times
    cancelled_at: Times
    id_hash: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]
    by_hash: Index
    subscriber: pl.Series
    organization: pl.Series
    clocks: PeriodClocks

    def rows_of_hashes(self, hashes: npt.NDArray[np.uint64]) -> Index:
        """The row of the subscription that each of these hashes stands for, -1 where there is none."""
        if not len(self.by_hash):
            return np.full(len(hashes), -1)
        place = np.searchsorted(self.hashes[self.by_hash, 0], hashes[:, 0])
        rows = self.by_hash[np.minimum(place, len(self.by_hash) - 1)]
        return np.where((np.take(self.hashes, rows, axis=0) == hashes).all(axis=1), rows, -1)


@dataclass(frozen=True, slots=True)
class Products:
    """All product versions: `first_charge` has one entry per product and one more; its quotas count as charges.

    None in `sources` means every source. `charged` (products, sources + 1) says whether a product charges a source of
    `source_lookup`; the last column (-1) stands for every source that no product names. `notifies_trial`: the owner is
    told before a trial ends.
    """

    ids: tuple[str, ...]
    versions: tuple[str, ...]
    currencies: tuple[str, ...]
    first_charge: Index
    sources: tuple[frozenset[str] | None, ...]
    source_lookup: NameRows
    charged: npt.NDArray[np.bool_]
    notifies_trial: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Who is told: the provider's addresses per product version, and for a subscription its own behind them.

    `told` has lists of texts, in which nobody is named twice; `of_subscriptions` (int32) is the row there of each.
    """

    of_products: tuple[tuple[str, ...], ...]
    told: pl.Series
    of_subscriptions: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class CompiledCatalog:
    """The catalog as rating uses it; `elements` are the names of all elements that any charge reads.

    The lookups find whole columns of names; `credential_owner` is the subscription of each row that
    `credential_lookup` gives. `owners` and `organizations` give the subscriptions of a subscriber and an organization.
    `foreign` are the sources whose records are no CloudEvents events.
    """

    digest: str
    elements: tuple[str, ...]
    foreign: tuple[ForeignSource, ...]
    subscriptions: Subscriptions
    products: Products
    charges: Charges
    thresholds: Thresholds
    addresses: Addresses
    subscription_rows: Mapping[str, int]
    subscription_lookup: NameRows
    credential_rows: Mapping[str, int]
    credential_lookup: NameRows
    credential_owner: Index
    owners: Mapping[str, tuple[int, ...]]
    organizations: Mapping[str, tuple[int, ...]]


def compile_catalog(catalog: Catalog) -> CompiledCatalog:
    """The columns of a catalog that passed the lint."""
    rules = {rule.id: rule for rule in catalog.pricing_rules}
    expanded = [expand(product, rules).charges for product in catalog.products]
    charges = compile_charges(catalog.products, expanded)
    subscriptions = _subscriptions(catalog)
    rows = {subscription.id: row for row, subscription in enumerate(catalog.subscriptions)}
    return CompiledCatalog(
        digest=_digest(catalog),
        elements=tuple(sorted({name for program in charges.programs for name in program.elements})),
        foreign=foreign_sources(catalog.sources),
        subscriptions=subscriptions,
        subscription_lookup=NameRows(subscriptions.ids),
        credential_lookup=NameRows(pl.Series([credential.id for credential in catalog.credentials], dtype=pl.String)),
        credential_owner=np.array([rows[credential.subscription] for credential in catalog.credentials], np.int64),
        products=_products(catalog, charges),
        charges=charges,
        thresholds=compile_thresholds(catalog.products, catalog.subscriptions, subscriptions.product, charges),
        addresses=_addresses(catalog, subscriptions.product),
        subscription_rows=rows,
        credential_rows={credential.id: rows[credential.subscription] for credential in catalog.credentials},
        owners=_grouped(
            [subscriber.email for subscriber in catalog.subscribers],
            [subscription.subscriber for subscription in catalog.subscriptions],
        ),
        organizations=_grouped(
            [organization.id for organization in catalog.organizations],
            [subscription.organization for subscription in catalog.subscriptions],
        ),
    )


def _addresses(catalog: Catalog, product: Index) -> Addresses:
    of_products = tuple(entry.provider_notification_addresses for entry in catalog.products)
    told, row = list(of_products), product.astype(np.int32)
    met: dict[tuple[int, tuple[str, ...]], int] = {}
    for number, entry in enumerate(catalog.subscriptions):
        own = entry.notification_addresses
        if not own:
            continue
        place = met.setdefault((int(product[number]), own), len(told))
        if place == len(told):
            told.append((*of_products[product[number]], *own))
        row[number] = place
    lists = [list(dict.fromkeys(addresses)) for addresses in told]
    return Addresses(of_products, pl.Series(lists, dtype=pl.List(pl.String)), row)


def _grouped(names: Sequence[str], of_rows: Sequence[str | None]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = {name: [] for name in names}
    for row, name in enumerate(of_rows):
        if name is not None:
            groups.setdefault(name, []).append(row)
    return {name: tuple(rows) for name, rows in groups.items()}


def _digest(catalog: Catalog) -> str:
    """Hex of the SHA-256 over the catalog's content, the order of its entries included, cut to 128 bits."""
    state = hashlib.sha256()
    for part in (catalog.products, catalog.pricing_rules, catalog.sources, catalog.organizations, catalog.subscribers):
        state.update(orjson.dumps([entry.model_dump(mode="json") for entry in part], option=orjson.OPT_SORT_KEYS))
    # Of flat entries there may be millions: their values as they are take a fraction of the time.
    for flat in (catalog.subscriptions, catalog.credentials, catalog.refunds):
        state.update(orjson.dumps([tuple(vars(entry).values()) for entry in flat], default=str))
    return state.digest()[:_DIGEST_BYTES].hex()


def _products(catalog: Catalog, charges: Charges) -> Products:
    sources = tuple(frozenset(product.sources) if product.sources else None for product in catalog.products)
    named = sorted({source for own in sources if own is not None for source in own})
    charged = [[own is None or source in own for source in named] + [own is None] for own in sources]
    return Products(
        ids=tuple(product.id for product in catalog.products),
        versions=tuple(product.version for product in catalog.products),
        currencies=tuple(product.currency for product in catalog.products),
        first_charge=np.searchsorted(charges.product, np.arange(len(catalog.products) + 1)),
        sources=sources,
        source_lookup=NameRows(pl.Series(named, dtype=pl.String)),
        charged=np.array(charged, np.bool_).reshape(len(sources), len(named) + 1),
        notifies_trial=np.array(
            [bool(one.free_trial and one.free_trial.notify_before_end) for one in catalog.products], np.bool_
        ),
    )


def _subscriptions(catalog: Catalog) -> Subscriptions:
    product_rows = {product.reference: row for row, product in enumerate(catalog.products)}
    subscriptions = catalog.subscriptions
    product = np.array([product_rows[subscription.product] for subscription in subscriptions], np.int64)
    start = np.array([microseconds(subscription.start) for subscription in subscriptions], np.int64)
    ids = [subscription.id for subscription in subscriptions]
    trial = np.array([_trial_length(entry) for entry in catalog.products], np.int64)[product]
    hashes = stable_hashes(ids)
    every_clock = _clocks(catalog, product, start)
    clocks, clock = every_clock.distinct()
    return Subscriptions(
        ids=pl.Series(ids, dtype=pl.String),
        product=product,
        life=np.stack([start, _effective_ends(catalog, product, start, every_clock), start + trial, clock], axis=1),
        stated_end=_stated_ends(catalog),
        cancelled_at=np.array(
            [ENDLESS if one.cancelled_at is None else microseconds(one.cancelled_at) for one in subscriptions], np.int64
        ),
        id_hash=np.fromiter((zlib.crc32(name.encode()) for name in ids), np.uint32, len(ids)),
        hashes=hashes,
        by_hash=np.argsort(hashes[:, 0]),
        subscriber=pl.Series([subscription.subscriber for subscription in subscriptions], dtype=pl.String),
        organization=pl.Series([subscription.organization for subscription in subscriptions], dtype=pl.String),
        clocks=clocks,
    )


def _trial_length(product: Product) -> int:
    return product.free_trial.days * _DAY if product.free_trial else 0


def _clocks(catalog: Catalog, product: Index, start: Times) -> PeriodClocks:
    periods = [entry.settlement_period for entry in catalog.products]
    length = np.array([fixed_length(period.unit) * period.count for period in periods], np.int64)
    months = np.array([month_length(period.unit) * period.count for period in periods], np.int64)
    in_utc = np.array([period.unit == "minute" for period in periods], np.bool_)
    zones: Mapping[str | None, str] = {entry.id: entry.timezone for entry in catalog.organizations}
    names = [
        "UTC" if utc else zones.get(subscription.organization, "UTC")
        for subscription, utc in zip(catalog.subscriptions, in_utc[product].tolist(), strict=True)
    ]
    return PeriodClocks.of_columns(length[product], months[product], start, names)


def _stated_ends(catalog: Catalog) -> Times:
    ends = [ENDLESS if entry.end is None else microseconds(entry.end) for entry in catalog.subscriptions]
    return np.array(ends, np.int64)


def _effective_ends(catalog: Catalog, product: Index, start: Times, clocks: PeriodClocks) -> Times:
    ends = _stated_ends(catalog)
    for row, entry in enumerate(catalog.subscriptions):
        if entry.cancelled_at is not None:
            ends[row] = min(ends[row], _cancellation(entry, catalog.products[product[row]], row, clocks))
    tested = np.array([entry.settlement_period.test_mode is not None for entry in catalog.products], np.bool_)[product]
    return np.where(tested, np.minimum(ends, start + _TEST_MODE_LENGTH), ends)


def _cancellation(entry: Subscription, product: Product, row: int, clocks: PeriodClocks) -> int:
    """When a cancellation takes effect: at once where the product allows it, else at the end of its period.

    A trial that was cancelled never converts, so it ends the subscription. Where no period ends, it is at once.
    """
    assert entry.cancelled_at is not None
    cancelled_at = microseconds(entry.cancelled_at)
    if product.immediate_cancellation:
        return cancelled_at
    _, _, end = clocks.periods_of(np.array([row]), np.array([cancelled_at]))
    trial_end = microseconds(entry.start) + _trial_length(product)
    over = cancelled_at if end[0] == ENDLESS else int(end[0])
    return min(over, trial_end) if cancelled_at < trial_end else over
