"""The catalog as a person writes it (contracts 2): who buys, what is sold, who may use what.

Immutable models that refuse unknown keys. References between them, tiers and payment models are checked by
`rating.lint`; `rating.expand` turns payment models into fees and charges.

>>> one = Subscription(id="s", product="platinum@1.0.0", subscriber="joe@acme.com", start="2026-11-01T00:00:00Z")
>>> one.product_id, one.product_version
('platinum', '1.0.0')
"""

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.fields import Email, Fraction, Identifier, Moment, PositiveAmount, ProductReference, Record, Text, Texts
from schemas.prices import PricingRule
from schemas.products import (
    EmailTemplate,
    FreeTrial,
    NotificationKind,
    PaymentModel,
    Product,
    Quota,
    RecurringFee,
    SettlementPeriod,
    SetupFee,
    Window,
    version_key,
)
from schemas.record_paths import MappedName, PathText

__all__ = [
    "Catalog",
    "Credential",
    "EmailTemplate",
    "FreeTrial",
    "NotificationKind",
    "Organization",
    "PaymentModel",
    "Product",
    "Quota",
    "RecurringFee",
    "Refund",
    "SettlementPeriod",
    "SetupFee",
    "Source",
    "SourceFormat",
    "Subscriber",
    "Subscription",
    "Window",
    "moment_text",
    "version_key",
]

SourceFormat = Literal["cloudevents", "revenium", "kong", "envoy"]


class Organization(Record):
    """A company or internal business unit that buys."""

    id: Identifier
    name: Text | None = None
    external_id: Text | None = None
    associated_domains: Texts = ()
    storefront_url: Text | None = None
    billing_address: Text | None = None
    billing_phone: Text | None = None
    billing_email: Email | None = None
    remittance_instructions: Text | None = None
    logo: Text | None = None
    metadata: dict[str, Text] = Field(default_factory=dict)
    timezone: Text = "UTC"


class Subscriber(Record):
    """A person, identified by email."""

    email: Email
    name: Text | None = None
    organizations: tuple[Identifier, ...] = ()


class Source(Record):
    """A system that emits usage events. `elements`, where given, are all the elements its events carry.

    `mapping` gives, for formats other than CloudEvents, the path in a record of attributes and elements by their names.
    """

    id: Identifier
    name: Text | None = None
    description: Text | None = None
    format: SourceFormat = "cloudevents"
    mapping: dict[MappedName, PathText] = Field(default_factory=dict)
    elements: tuple[Identifier, ...] | None = None


class Subscription(Record):
    """One subscriber's grant to one product version, active in [start, end). Times are aware and in UTC."""

    id: Identifier
    product: ProductReference
    subscriber: Email
    organization: Identifier | None = None
    start: Moment
    end: Moment | None = None
    cancelled_at: Moment | None = None
    notification_threshold: Fraction | None = None
    notification_addresses: tuple[Email, ...] = ()

    @property
    def product_id(self) -> str:
        """The product without its version."""
        return self.product.rpartition("@")[0]

    @property
    def product_version(self) -> str:
        """The pinned version, `x.y.z`."""
        return self.product.rpartition("@")[2]


class Credential(Record):
    """A unique id used to access a service; its usage is charged to its subscription."""

    id: Identifier
    name: Text | None = None
    subscription: Identifier
    subscriber: Email | None = None


class Refund(Record):
    """An amount given back against an invoice."""

    id: Identifier
    invoice: Identifier
    amount: PositiveAmount
    note: Text | None = None
    issued_at: Moment


class Catalog(Record):
    """Everything a deployment sells and to whom, as one immutable value."""

    organizations: tuple[Organization, ...] = ()
    subscribers: tuple[Subscriber, ...] = ()
    sources: tuple[Source, ...] = ()
    products: tuple[Product, ...] = ()
    pricing_rules: tuple[PricingRule, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()
    credentials: tuple[Credential, ...] = ()
    refunds: tuple[Refund, ...] = ()


def moment_text(moment: datetime) -> str:
    """A moment as a person reads it in a message."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
