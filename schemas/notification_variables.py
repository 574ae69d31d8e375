"""What the wording of a notification may speak of: the variables of each kind, their types and where they come from.

Owns the one table that templates are checked against, that rendering fills in and that `details` of the ledger's
notifications follow. The rule: every variable of a kind is always there; one that is not known is null.

>>> [one.name for one in VARIABLES["credential_discovered"] if one.origin == "column" and one not in COMMON]
['source', 'event_id', 'credential_id']
>>> detail_names("trial_ending")
('trial_end',)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from schemas.products import NotificationKind

# text; an exact decimal that is no money; money; a moment in UTC; a whole number; yes or no; parts; a list of parts.
VariableType = Literal["text", "quantity", "amount", "moment", "count", "flag", "record", "list"]
# A column of the ledger's notifications, a member of their `details`, the catalog, or worked out from the others.
Origin = Literal["column", "details", "catalog", "computed"]


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable. `optional`: it may be null. `members`: the parts of a record, or of each item of a list.

    In `details`, decimals are text with all their digits and moments are RFC 3339 text.
    """

    name: str
    type: VariableType
    meaning: str
    origin: Origin = "column"
    optional: bool = False
    members: tuple["Variable", ...] = ()


def _from_catalog(name: str, meaning: str) -> Variable:
    return Variable(name, "text", meaning, "catalog", optional=True)


_ORGANIZATION = (
    _from_catalog("id", "its id"),
    _from_catalog("name", "its name, or its id where it has none"),
    _from_catalog("external_id", "its id in another system"),
    _from_catalog("storefront_url", "where it sees its usage and invoices; null unless it is an http or https address"),
    _from_catalog("logo_url", "the address of its logo"),
    _from_catalog("billing_address", "its address on invoices"),
    _from_catalog("billing_phone", "its phone number on invoices"),
    _from_catalog("billing_email", "its email address on invoices"),
    _from_catalog("remittance_instructions", "how it pays"),
)
_PRODUCT = (
    _from_catalog("id", "its id"),
    _from_catalog("version", "its version, `x.y.z`"),
    _from_catalog("name", "its name, or its id where it has none"),
    _from_catalog("code", "its id in another system"),
    _from_catalog("description", "what it is"),
    _from_catalog("currency", "its currency, an ISO 4217 code"),
)

COMMON: tuple[Variable, ...] = (
    Variable("notification_id", "text", "the id of the notification"),
    Variable("kind", "text", "the kind of the notification"),
    Variable("occurred_at", "moment", "when it happened"),
    Variable("synthetic", "flag", "whether simulated usage caused it"),
    Variable("subscription_id", "text", "the subscription", optional=True),
    Variable("subscriber", "text", "the subscriber's email address", optional=True),
    _from_catalog("subscriber_name", "the subscriber's name"),
    Variable("organization", "record", "the organization that buys", "catalog", members=_ORGANIZATION),
    Variable("product", "record", "the product version that is sold", "catalog", members=_PRODUCT),
)

_EVENT = (
    Variable("source", "text", "the source of the event", optional=True),
    Variable("event_id", "text", "the id of the event", optional=True),
)
_CREDENTIAL = Variable("credential_id", "text", "the credential", optional=True)
_USAGE = (
    Variable("share", "quantity", "the fraction of the limit that was reached; `0.5` is 50 %"),
    Variable("threshold", "quantity", "the usage at which this is notified"),
    Variable("limit", "quantity", "the limit"),
    Variable("usage_before", "quantity", "the usage before the event that reached it"),
    Variable("usage_after", "quantity", "the usage after that event"),
    Variable("remaining", "quantity", "what is left up to the limit, at least 0", "computed"),
    Variable("window_start", "moment", "when the window of the usage began", optional=True),
    Variable("window_end", "moment", "when it ends, excluded", optional=True),
)
_QUOTA = (
    Variable("quota", "text", "the name of the quota"),
    *_USAGE,
    Variable("on_exceed", "text", "what happens above the limit: `block` or `overage`"),
)


def _detail(name: str, type_: VariableType, meaning: str, optional: bool = False) -> Variable:
    return Variable(name, type_, meaning, "details", optional)


_INVOICE_LINE = (
    _detail("description", "text", "what it is for"),
    _detail("quantity", "quantity", "how much", optional=True),
    _detail("unit_price", "amount", "what one costs", optional=True),
    _detail("amount", "amount", "what is due for it"),
)
_INVOICE = (
    _detail("invoice_id", "text", "the id of the invoice"),
    _detail("number", "text", "its number"),
    _detail("total", "amount", "what is due"),
    _detail("currency", "text", "its currency, an ISO 4217 code"),
    _detail("period_start", "moment", "when the settled period began"),
    _detail("period_end", "moment", "when it ended, excluded", optional=True),
    _detail("due_at", "moment", "when it is to be paid", optional=True),
    Variable("lines", "list", "its lines, the first 100 of them", "details", members=_INVOICE_LINE),
    Variable("lines_left_out", "count", "how many lines it has besides those", "computed"),
)

_OWN: Mapping[NotificationKind, tuple[Variable, ...]] = {
    "subscription_created": (
        _detail("start", "moment", "when the subscription begins"),
        _detail("end", "moment", "when it ends, excluded", optional=True),
        _detail("trial_end", "moment", "when its free trial ends", optional=True),
    ),
    "credential_discovered": (*_EVENT, _CREDENTIAL),
    "quota_threshold": _QUOTA,
    "quota_reached": _QUOTA,
    "tier_threshold": (
        Variable("charge_id", "text", "the charge"),
        Variable("tier", "count", "the number of the tier, from 1"),
        *_USAGE,
    ),
    "trial_ending": (_detail("trial_end", "moment", "when the free trial ends"),),
    "trial_converted": (_detail("trial_end", "moment", "when the free trial ended"),),
    "subscription_cancelled": (
        _detail("cancelled_at", "moment", "when it was cancelled", optional=True),
        _detail("end", "moment", "from when on it can no longer be used"),
    ),
    "invoice_issued": _INVOICE,
    "test_mode_ended": (
        _detail("test_mode", "text", "`5min` or `5min_synthetic`"),
        _detail("periods", "count", "how many periods were settled", optional=True),
    ),
    "event_parked": (
        *_EVENT,
        _CREDENTIAL,
        _detail("reason", "text", "why it waits, as one of the verdicts' reasons"),
        _detail("reason_detail", "text", "the same in words", optional=True),
    ),
}

KINDS: tuple[NotificationKind, ...] = get_args(NotificationKind)
VARIABLES: Mapping[NotificationKind, tuple[Variable, ...]] = MappingProxyType(
    {kind: (*COMMON, *_OWN[kind]) for kind in KINDS}
)


def detail_names(kind: NotificationKind) -> tuple[str, ...]:
    """The members that the `details` of a kind may have."""
    return tuple(one.name for one in VARIABLES[kind] if one.origin == "details")
