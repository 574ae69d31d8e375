"""A sample of each kind of notification, as the ledger holds it, and the catalog it speaks of.

Templates are tried with these rows when they are loaded, and previews are made of them.

>>> sample_row("quota_reached")["usage_after"]
Decimal('10250.5')
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from schemas.catalog import Catalog
from schemas.ledger import NOTIFICATIONS
from schemas.products import NotificationKind

SAMPLE_CATALOG = Catalog.model_validate(
    {
        "organizations": [
            {
                "id": "acme",
                "name": "AcmeSoft",
                "external_id": "ERP-77",
                "storefront_url": "https://api.acme.example",
                "billing_address": "AcmeSoft Inc.\n1 Main Street\nSpringfield",
                "billing_phone": "+1 555 0100",
                "billing_email": "ap@acme.example",
                "remittance_instructions": "Wire to IBAN DE02 1203 0000 0000 2020 51, quoting the invoice's number.",
                "logo": "https://api.acme.example/logo.png",
            }
        ],
        "subscribers": [{"email": "joe@acme.example", "name": "Joe Doe", "organizations": ["acme"]}],
        "sources": [{"id": "drug-search"}],
        "products": [
            {
                "id": "platinum",
                "name": "Platinum Unlimited",
                "version": "1.0.0",
                "code": "ERP-PLAT",
                "description": "Search without bounds",
                "currency": "USD",
                "settlement_period": "month",
                "payment_model": "transactional",
                "rate": "0.10",
            }
        ],
        "subscriptions": [
            {
                "id": "sub-acme-1",
                "product": "platinum@1.0.0",
                "subscriber": "joe@acme.example",
                "organization": "acme",
                "start": "2026-11-01T00:00:00Z",
            }
        ],
    }
)

_MONTH: Mapping[str, Any] = {
    "window_start": datetime(2026, 11, 1, tzinfo=UTC),
    "window_end": datetime(2026, 12, 1, tzinfo=UTC),
}
_INVOICE: Mapping[str, Any] = {
    "invoice_id": "inv-7f3a",
    "number": "2026-000042",
    "total": "1112.53",
    "currency": "USD",
    "period_start": "2026-11-01T00:00:00Z",
    "period_end": "2026-12-01T00:00:00Z",
    "due_at": "2026-12-31T00:00:00Z",
    "lines": [
        {"description": "Recurring fee", "quantity": None, "unit_price": None, "amount": "100"},
        {"description": "Calls, tier 1", "quantity": "10000", "unit_price": "0.1", "amount": "1000"},
        {"description": "Calls, tier 2", "quantity": "250.5", "unit_price": "0.05", "amount": "12.53"},
    ],
}
_EVENT: Mapping[str, Any] = {"partition": 0, "offset": 17, "source": "drug-search", "event_id": "01JD3Z0V9"}

_OWN: Mapping[NotificationKind, Mapping[str, Any]] = {
    "subscription_created": {
        "details": {"start": "2026-11-01T00:00:00Z", "end": None, "trial_end": "2026-11-15T00:00:00Z"}
    },
    "credential_discovered": {**_EVENT, "credential_id": "key1-hubspot"},
    "quota_threshold": {
        **_MONTH,
        "quota": "requests",
        "share": Decimal("0.5"),
        "threshold": Decimal(5000),
        "limit": Decimal(10000),
        "usage_before": Decimal("4999.25"),
        "usage_after": Decimal("5000.75"),
        "on_exceed": "overage",
    },
    "quota_reached": {
        **_MONTH,
        "quota": "requests",
        "share": Decimal(1),
        "threshold": Decimal(10000),
        "limit": Decimal(10000),
        "usage_before": Decimal(9990),
        "usage_after": Decimal("10250.5"),
        "on_exceed": "block",
    },
    "tier_threshold": {
        **_MONTH,
        "charge_id": "usage",
        "tier": 1,
        "share": Decimal("0.8"),
        "threshold": Decimal(80),
        "limit": Decimal(100),
        "usage_before": Decimal(79),
        "usage_after": Decimal(82),
    },
    "trial_ending": {"details": {"trial_end": "2026-11-21T10:00:00Z"}},
    "trial_converted": {"details": {"trial_end": "2026-11-20T10:00:00Z"}},
    "subscription_cancelled": {"details": {"cancelled_at": "2026-11-20T10:00:00Z", "end": "2026-12-01T00:00:00Z"}},
    "invoice_issued": {"details": _INVOICE},
    "test_mode_ended": {"details": {"test_mode": "5min_synthetic", "periods": 12}},
    "event_parked": {
        **_EVENT,
        "credential_id": "key9-unknown",
        "details": {
            "reason": "unknown_credential",
            "reason_detail": "credential 'key9-unknown' is not in the catalog",
        },
    },
}


def _whole(kind: NotificationKind) -> Mapping[str, Any]:
    """Every column of a notification, those that its kind does not use null."""
    common = {
        "notification_id": f"sample-{kind}",
        "kind": kind,
        "occurred_at": datetime(2026, 11, 20, 10, tzinfo=UTC),
        "subscription_id": "sub-acme-1",
        "subscriber": "joe@acme.example",
        "organization_id": "acme",
        "product_id": "platinum",
        "product_version": "1.0.0",
        "recipients": ["billing@provider.example"],
        "synthetic": False,
        "catalog_digest": "0" * 16,
    }
    return MappingProxyType(dict.fromkeys(NOTIFICATIONS.names) | common | dict(_OWN[kind]))


SAMPLES: Mapping[NotificationKind, Mapping[str, Any]] = MappingProxyType({kind: _whole(kind) for kind in _OWN})


def sample_row(kind: NotificationKind, **changes: Any) -> dict[str, Any]:
    """The sample of a kind as a row of its own, with other values for some columns."""
    assert changes.keys() <= set(NOTIFICATIONS.names), changes
    return {**SAMPLES[kind], **changes}
