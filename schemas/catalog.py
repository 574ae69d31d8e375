"""The catalog as a person writes it (contracts 2): who buys, what is sold, who may use what.

Immutable models that refuse unknown keys. References between them, tiers and payment models are checked by
`rating.lint`; `rating.expand` turns payment models into fees and charges.

>>> SettlementPeriod.model_validate("5min").test_mode
'5min'
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.fields import (
    Amount,
    Count,
    Currency,
    Email,
    Fee,
    Flag,
    Fraction,
    Identifier,
    Moment,
    ProductIdentifier,
    ProductReference,
    Quantity,
    Record,
    Text,
    Texts,
    UnitPrice,
    Version,
    refused,
)
from schemas.prices import Charge, Meter, PricingRule, Tier
from schemas.problems import suggestion

PaymentModel = Literal["one_time", "transactional", "subscription", "subscription_overage", "volume"]
SourceFormat = Literal["cloudevents", "revenium", "kong", "envoy"]
TestMode = Literal["5min", "5min_synthetic"]
PeriodUnit = Literal["minute", "day", "week", "month", "quarter", "year", "none"]
WindowUnit = Literal["minute", "hour", "day", "week", "month", "quarter", "year"]
NotificationKind = Literal[
    "subscription_created",
    "credential_discovered",
    "quota_threshold",
    "quota_reached",
    "tier_threshold",
    "trial_ending",
    "trial_converted",
    "subscription_cancelled",
    "invoice_issued",
    "test_mode_ended",
    "event_parked",
]

_PERIODS = ("day", "week", "month", "quarter", "year", "none")
_WINDOWS = ("minute", "hour", "day", "week", "month", "quarter", "year")
_TEST_MODES = ("5min", "5min_synthetic")
_LONGEST_COUNT = 1000


def _counted(value: Any, units: tuple[str, ...], words: tuple[str, ...]) -> Any:
    """`month` as {unit: month, count: 1}; a mapping stays, once its unit and count are known to be sound."""
    if isinstance(value, str):
        if value not in units + words:
            raise refused("unit", f"'{value}' is none of {', '.join(words + units)}{suggestion(value, words + units)}")
        return {"unit": value, "count": 1}
    if isinstance(value, Mapping) and isinstance(value.get("unit"), str) and value["unit"] not in units:
        near = suggestion(value["unit"], units)
        raise refused("unit", f"unit '{value['unit']}' is none of {', '.join(units)}{near}")
    return value


class SettlementPeriod(Record):
    """The billing cycle: `count` units counted from the subscription's start, or one of the two test modes."""

    unit: PeriodUnit
    count: Count = Field(default=1, ge=1, le=_LONGEST_COUNT)
    test_mode: TestMode | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if isinstance(value, str) and value in _TEST_MODES:
            return {"unit": "minute", "count": 5, "test_mode": value}
        if isinstance(value, Mapping) and value.get("test_mode") is not None:
            return value
        return _counted(value, _PERIODS, _TEST_MODES)

    @model_validator(mode="after")
    def _test_modes_last_five_minutes(self) -> "SettlementPeriod":
        if self.test_mode and (self.unit, self.count) != ("minute", 5):
            raise refused("test_mode", f"the test mode {self.test_mode} has periods of 5 minutes")
        return self

    def __str__(self) -> str:
        return self.test_mode or (self.unit if self.count == 1 else f"{self.count} {self.unit}s")


class Window(Record):
    """A quota's own tumbling window, aligned to UTC."""

    unit: WindowUnit
    count: Count = Field(default=1, ge=1, le=_LONGEST_COUNT)

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return _counted(value, _WINDOWS, ("settlement_period",))


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

    `mapping` gives, for formats that need it, the JSON path of each element.
    """

    id: Identifier
    name: Text | None = None
    description: Text | None = None
    format: SourceFormat = "cloudevents"
    mapping: dict[str, Text] = Field(default_factory=dict)
    elements: tuple[Identifier, ...] | None = None


class RecurringFee(Record):
    """A fee per settlement period, on the invoice that opens (in_advance) or closes it (in_arrears)."""

    amount: Fee
    bill: Literal["in_advance", "in_arrears"] = "in_arrears"

    @model_validator(mode="before")
    @classmethod
    def _from_amount(cls, value: Any) -> Any:
        return {"amount": value} if isinstance(value, str | int | Decimal) else value


class SetupFee(Record):
    """A fee once per subscription, or once per organization however many subscriptions it holds."""

    amount: Fee
    once_per: Literal["subscription", "organization"] = "subscription"

    @model_validator(mode="before")
    @classmethod
    def _from_amount(cls, value: Any) -> Any:
        return {"amount": value} if isinstance(value, str | int | Decimal) else value


class Quota(Record):
    """A limit on usage in a window and what happens at it; without a meter it counts events. No window: the period."""

    name: Identifier
    meter: Meter | None = None
    limit: Quantity
    window: Window | None = None
    on_exceed: Literal["block", "overage"]
    notify_at: tuple[Quantity, ...] = ()

    @field_validator("window", mode="before")
    @classmethod
    def _own_window(cls, value: Any) -> Any:
        return None if value == "settlement_period" else value


class FreeTrial(Record):
    """Free use from the subscription's start for `days` times 24 hours."""

    days: Count = Field(ge=1, le=_LONGEST_COUNT)
    notify_before_end: Flag = False


class EmailTemplate(Record):
    """A product's own wording of one kind of notification; what is absent keeps the default."""

    subject: Text | None = None
    text: Text | None = None
    html: Text | None = None


class Product(Record):
    """One version of a product: sources sold as a package with fees, pricing and quotas.

    `payment_model` with its keys beside it is a shorthand; `charges` stand instead of it or besides it.
    """

    id: ProductIdentifier
    name: Text | None = None
    version: Version
    code: Text | None = None
    description: Text | None = None
    terms: Texts = ()
    tags: Texts = ()
    emails: dict[NotificationKind, EmailTemplate] = Field(default_factory=dict)
    sources: tuple[Identifier, ...] = ()
    currency: Currency
    settlement_period: SettlementPeriod
    payment_model: PaymentModel | None = None
    amount: Fee | None = None
    rate: UnitPrice | None = None
    recurring_fee: RecurringFee | None = None
    included: Quantity | None = None
    overage_rate: UnitPrice | None = None
    tiers: tuple[Tier, ...] | None = None
    tier_mode: Literal["graduated", "volume"] | None = None
    setup_fee: SetupFee | None = None
    charges: tuple[Charge, ...] = ()
    pricing_rules: tuple[Identifier, ...] = ()
    exempt_where: Text | None = "status >= 500"
    minimum_spend: Amount | None = None
    maximum_spend: Amount | None = None
    quotas: tuple[Quota, ...] = ()
    notification_threshold: Fraction | None = None
    free_trial: FreeTrial | None = None
    immediate_cancellation: Flag = False
    provider_notification_addresses: tuple[Email, ...] = ()
    send_invoices: Flag = True

    @property
    def reference(self) -> str:
        """The product version as a subscription pins it: `platinum@1.0.0`."""
        return f"{self.id}@{self.version}"


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
    amount: Amount
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


def version_key(version: str) -> tuple[int, int, int]:
    """A version as numbers that sort: "1.10.0" comes after "1.9.0"."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)


def moment_text(moment: datetime) -> str:
    """A moment as a person reads it in a message."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
