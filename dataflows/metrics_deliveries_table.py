"""The metrics of the notification flow, a part of the table of all metrics."""

from dataflows.metrics_form import Kind, Metric, Origin

DELIVERIES = Metric(
    "ratemill_deliveries",
    Kind.GAUGE,
    Origin.NOTIFICATIONS,
    "deliveries",
    "Deliveries in the store that are pending or failed, and those that were ever delivered.",
    ("channel", "state"),
)
OLDEST_PENDING = Metric(
    "ratemill_oldest_pending_delivery_seconds",
    Kind.GAUGE,
    Origin.NOTIFICATIONS,
    "seconds",
    "How long the oldest pending delivery has waited; 0 where none waits.",
    ("channel",),
)
MALFORMED_NOTIFICATIONS = Metric(
    "ratemill_malformed_notifications",
    Kind.GAUGE,
    Origin.NOTIFICATIONS,
    "records",
    "Records of the topic in the store that are no notifications.",
)
NOTIFICATIONS_READ = Metric(
    "ratemill_notifications_total",
    Kind.COUNTER,
    Origin.NOTIFICATIONS,
    "notifications",
    "Notifications that this run has read and kept, without those that were known.",
)
DELIVERY_ATTEMPTS = Metric(
    "ratemill_delivery_attempts_total",
    Kind.COUNTER,
    Origin.NOTIFICATIONS,
    "attempts",
    "Attempts to deliver of this run.",
    ("endpoint", "outcome"),
)
CIRCUIT_OPEN = Metric(
    "ratemill_delivery_circuit_open",
    Kind.GAUGE,
    Origin.NOTIFICATIONS,
    "0 or 1",
    "Whether an endpoint rests after failures in a row.",
    ("endpoint",),
)

DELIVERY_METRICS = (
    DELIVERIES,
    OLDEST_PENDING,
    MALFORMED_NOTIFICATIONS,
    NOTIFICATIONS_READ,
    DELIVERY_ATTEMPTS,
    CIRCUIT_OPEN,
)
