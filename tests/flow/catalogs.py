"""Catalogs for tests of versions: small ones that differ in every entry, and the versions they make."""

from dataflows.catalog_entries import canonical
from dataflows.catalog_history import CatalogVersion
from rating.catalog import compile_catalog
from schemas.catalog import Catalog

START = "2020-01-01T00:00:00Z"


def catalog(mark: str = "first", subscriptions: int = 3, **changes: object) -> Catalog:
    """A sound catalog; `mark` stands in each of its entries that may change once published."""
    stated = {
        "organizations": [{"id": "acme", "name": mark}],
        "subscribers": [{"email": "joe@acme.example", "name": mark, "organizations": ["acme"]}],
        "sources": [{"id": "api", "name": mark}],
        "products": [
            {
                "id": "plan",
                "name": mark,
                "version": "1.0.0",
                "sources": ["api"],
                "currency": "USD",
                "settlement_period": "day",
                "payment_model": "transactional",
                "rate": "0.01",
            }
        ],
        "subscriptions": [
            {
                "id": f"sub-{number}",
                "product": "plan@1.0.0",
                "subscriber": "joe@acme.example",
                "start": START,
                "notification_addresses": [f"{mark}@acme.example"],
            }
            for number in range(subscriptions)
        ],
        "credentials": [{"id": "key", "name": mark, "subscription": "sub-0"}],
    }
    return Catalog.model_validate(stated | changes)


def marks(known: Catalog) -> set[str]:
    """The marks in a catalog's entries: one, if it is whole."""
    named = (*known.organizations, *known.subscribers, *known.sources, *known.products, *known.credentials)
    addresses = (address for one in known.subscriptions for address in one.notification_addresses)
    return {str(entry.name) for entry in named} | {address.partition("@")[0] for address in addresses}


def version(mark: str, published_at: int, effective_from: int | None = None, **changes: object) -> CatalogVersion:
    """A version of the catalog with this mark; it takes effect 5 after its publication, unless it is said when."""
    known = canonical(catalog(mark, **changes))
    moment = published_at + 5 if effective_from is None else effective_from
    return CatalogVersion(compile_catalog(known).digest, moment, published_at, known)
