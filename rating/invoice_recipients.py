"""Who pays an invoice: the organization's block and the subscriber, as JSON, as the catalog has them when it is issued.

Owns what of an organization an invoice says. Does not own how a page shows it.
"""

import orjson
import polars as pl

from rating import wide
from rating.fees import Seller
from rating.prices import Index
from schemas.catalog import Catalog, Organization

_BLOCK = (
    *("id", "name", "external_id", "billing_address", "billing_email", "billing_phone", "remittance_instructions"),
    *("logo", "storefront_url", "metadata"),
)


def recipients(catalog: Catalog, seller: Seller, subscription: Index) -> pl.Series:
    """Who pays, as JSON: the organization's block, and the subscriber."""
    columns = seller.catalog.subscriptions
    blocks = pl.DataFrame(
        {
            "organization_id": [one.id for one in catalog.organizations],
            "organization": [_block(one) for one in catalog.organizations],
        },
        schema={"organization_id": pl.String, "organization": pl.String},
    )
    people = pl.DataFrame(
        {
            "email": [one.email for one in catalog.subscribers],
            "name": [one.name for one in catalog.subscribers],
        },
        schema={"email": pl.String, "name": pl.String},
    ).unique("email", keep="first", maintain_order=True)
    rows = pl.DataFrame(
        {
            "organization_id": wide.picked(columns.organization, subscription),
            "email": wide.picked(columns.subscriber, subscription),
        }
    )
    rows = rows.join(blocks, on="organization_id", how="left", maintain_order="left")
    rows = rows.join(people, on="email", how="left", maintain_order="left")
    person = rows.select("email", "name").to_struct().struct.json_encode()
    block = rows["organization"].fill_null("null")
    texts = pl.DataFrame([block, person.alias("person")])
    return texts.select(pl.format('{{"organization":{},"subscriber":{}}}', "organization", "person")).to_series()


def _block(organization: Organization) -> str:
    return orjson.dumps({name: getattr(organization, name) for name in _BLOCK}, option=orjson.OPT_SORT_KEYS).decode()
