"""Products as a person writes them in a catalog (contracts 2): what is sold, for how much, and how often it is settled.

>>> SettlementPeriod.model_validate("5min").test_mode
'5min'
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.fields import (
    Count,
    Currency,
    Email,
    Fee,
    Flag,
    Fraction,
    Identifier,
    ProductIdentifier,
    Quantity,
    Record,
    Text,
    Texts,
    UnitPrice,
    Version,
)
from schemas.prices import Charge, Meter, Tier
from schemas.problems import suggestion

PaymentModel = Literal["one_time", "transactional", "subscription", "subscription_overage", "volume"]
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
            raise ValueError(f"'{value}' is none of {', '.join(words + units)}{suggestion(value, words + units)}")
        return {"unit": value, "count": 1}
    if isinstance(value, Mapping) and isinstance(value.get("unit"), str) and value["unit"] not in units:
        near = suggestion(value["unit"], units)
        raise ValueError(f"unit '{value['unit']}' is none of {', '.join(units)}{near}")
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
            raise ValueError(f"the test mode {self.test_mode} has periods of 5 minutes")
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
    minimum_spend: Fee | None = None
    maximum_spend: Fee | None = None
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


def version_key(version: str) -> tuple[int, int, int]:
    """A version as numbers that sort: "1.10.0" comes after "1.9.0"."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)
