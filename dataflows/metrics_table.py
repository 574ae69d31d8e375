"""The table of all metrics: docs/metrics.md, the dashboard, the alerts and whatever is scraped take their names here.

Owns: names, types, labels, units, and what a value means. Does not own: values (`metrics` counts work, `metrics_facts`
reads facts). The rule: a name that somebody may watch changes with a changelog entry only.

>>> next(metric.unit for metric in METRICS if metric.name == "ratemill_partition_lag_records")
'records'
"""

from dataflows.metrics_deliveries_table import DELIVERY_METRICS
from dataflows.metrics_form import Kind, Metric, Origin

READY = Metric(
    "ratemill_ready",
    Kind.GAUGE,
    Origin.FLOW,
    "0 or 1",
    "Whether the flow does its work; what /readyz says.",
)
RUNNING = Metric(
    "ratemill_running",
    Kind.GAUGE,
    Origin.SUPERVISOR,
    "0 or 1",
    "Whether all processes of the rating flow run.",
)
RESTARTS = Metric(
    "ratemill_restarts_total",
    Kind.COUNTER,
    Origin.SUPERVISOR,
    "restarts",
    "How often all processes were started again: one died, stalled, was not started, or Kafka was unreachable.",
    ("reason",),
)
RECORDS = Metric(
    "ratemill_records_total",
    Kind.COUNTER,
    Origin.PROCESSES,
    "records",
    "Records that the processes gave a verdict, counted when they close a commit; what a crash undoes counts again.",
    ("verdict",),
)
LINE_ITEMS = Metric(
    "ratemill_line_items_total",
    Kind.COUNTER,
    Origin.PROCESSES,
    "line items",
    "Line items that the processes wrote, counted as the records are.",
)
READ_BYTES = Metric(
    "ratemill_read_bytes_total",
    Kind.COUNTER,
    Origin.PROCESSES,
    "bytes",
    "Values of the records that the processes read, unpacked.",
)
STAGE_SECONDS = Metric(
    "ratemill_stage_seconds_total",
    Kind.COUNTER,
    Origin.PROCESSES,
    "seconds",
    "Time spent in a stage, over all threads, waits included; those of `read` are mostly for records to come.",
    ("stage",),
)
EPOCH_SECONDS = Metric(
    "ratemill_epoch_seconds",
    Kind.HISTOGRAM,
    Origin.PROCESSES,
    "seconds",
    "Time between two commits of a writer.",
)
SNAPSHOT_BYTES = Metric(
    "ratemill_snapshot_bytes_total",
    Kind.COUNTER,
    Origin.PROCESSES,
    "bytes",
    "State given to the recovery store, by step of the flow: read, rate, ledger.",
    ("step",),
)
PARTITION_PROGRESS = Metric(
    "ratemill_partition_progress_timestamp_seconds",
    Kind.GAUGE,
    Origin.PROCESSES,
    "seconds since 1970",
    "Time that the events of a partition have reached in closed commits; of an idle one, when it was last seen so.",
    ("partition",),
)
LEDGER_READABLE = Metric(
    "ratemill_ledger_readable",
    Kind.GAUGE,
    Origin.LEDGER,
    "0 or 1",
    "Whether the ledger could be read for this scrape; if not, its other metrics are absent.",
)
LEDGER_RECORDS = Metric(
    "ratemill_ledger_records",
    Kind.GAUGE,
    Origin.LEDGER,
    "records",
    "Published records since the ledger was made; with verdict `parked` also those that were reinjected since.",
    ("verdict",),
)
LEDGER_LINE_ITEMS = Metric(
    "ratemill_ledger_line_items",
    Kind.GAUGE,
    Origin.LEDGER,
    "line items",
    "Published line items since the ledger was made.",
)
CONSERVATION_DIFFERENCE = Metric(
    "ratemill_ledger_conservation_difference",
    Kind.GAUGE,
    Origin.LEDGER,
    "rows",
    "Rows by which received records, verdicts and published files of a writer differ; anything but 0 is damage.",
    ("writer",),
)
PUBLISHED_SEQUENCE = Metric(
    "ratemill_ledger_published_sequence",
    Kind.GAUGE,
    Origin.LEDGER,
    "number",
    "The last published commit of a writer; they are numbered from 0, and absent before the first.",
    ("writer",),
)
PUBLISHED_AGE = Metric(
    "ratemill_ledger_published_age_seconds",
    Kind.GAUGE,
    Origin.LEDGER,
    "seconds",
    "How long ago a writer published its last commit; small also without events, as idle partitions are committed.",
    ("writer",),
)
LEDGER_PROGRESS = Metric(
    "ratemill_ledger_progress_timestamp_seconds",
    Kind.GAUGE,
    Origin.LEDGER,
    "seconds since 1970",
    "Time that all partitions have reached in the last published commit of a writer.",
    ("writer",),
)
NEXT_OFFSET = Metric(
    "ratemill_partition_next_offset",
    Kind.GAUGE,
    Origin.LEDGER,
    "offset",
    "The first offset of a partition that is not yet published by all writers.",
    ("partition",),
)
KAFKA_UP = Metric(
    "ratemill_kafka_up",
    Kind.GAUGE,
    Origin.KAFKA,
    "0 or 1",
    "Whether Kafka answered the last question for the ends of the partitions; if not, ends and lags are absent.",
)
END_OFFSET = Metric(
    "ratemill_partition_end_offset",
    Kind.GAUGE,
    Origin.KAFKA,
    "offset",
    "The offset behind the last record of a partition, asked every few seconds.",
    ("partition",),
)
LAG = Metric(
    "ratemill_partition_lag_records",
    Kind.GAUGE,
    Origin.KAFKA,
    "records",
    "Records of a partition that are not yet published, to its end.",
    ("partition",),
)
RELAY_POSITION = Metric(
    "ratemill_relay_position",
    Kind.GAUGE,
    Origin.RELAY,
    "number",
    "The first commit of a writer that is not yet relayed.",
    ("writer",),
)
RELAY_BEHIND = Metric(
    "ratemill_relay_behind_commits",
    Kind.GAUGE,
    Origin.RELAY,
    "commits",
    "Published commits of a writer that are not yet relayed.",
    ("writer",),
)
RELAY_MESSAGES = Metric(
    "ratemill_relay_messages_total",
    Kind.COUNTER,
    Origin.RELAY,
    "messages",
    "Messages of the transactions that this run has ended, by topic without its prefix.",
    ("topic",),
)
SETTLEMENT_PERIODS = Metric(
    "ratemill_settlement_periods_total",
    Kind.COUNTER,
    Origin.SETTLEMENT,
    "periods",
    "Settlement periods that this run has closed, or found waiting.",
)
SETTLEMENT_INVOICES = Metric(
    "ratemill_settlement_invoices_total",
    Kind.COUNTER,
    Origin.SETTLEMENT,
    "invoices",
    "Invoices that this run has issued.",
)
SETTLEMENT_WAITS = Metric(
    "ratemill_settlement_waiting_subscriptions",
    Kind.GAUGE,
    Origin.SETTLEMENT,
    "subscriptions",
    "Subscriptions that are not settled until a person looks.",
)
SETTLEMENT_REACHED = Metric(
    "ratemill_settlement_reached_timestamp_seconds",
    Kind.GAUGE,
    Origin.SETTLEMENT,
    "seconds since 1970",
    "The moment up to which the ledger's input was complete when this flow last looked.",
)
SYNTHETIC_TRANSACTIONS = Metric(
    "ratemill_synthetic_transactions_total",
    Kind.COUNTER,
    Origin.SYNTHETIC,
    "transactions",
    "Simulated transactions that this run has sent, those included that had been sent before it started.",
)

METRICS = (
    READY,
    RUNNING,
    RESTARTS,
    RECORDS,
    LINE_ITEMS,
    READ_BYTES,
    STAGE_SECONDS,
    EPOCH_SECONDS,
    SNAPSHOT_BYTES,
    PARTITION_PROGRESS,
    LEDGER_READABLE,
    LEDGER_RECORDS,
    LEDGER_LINE_ITEMS,
    CONSERVATION_DIFFERENCE,
    PUBLISHED_SEQUENCE,
    PUBLISHED_AGE,
    LEDGER_PROGRESS,
    NEXT_OFFSET,
    KAFKA_UP,
    END_OFFSET,
    LAG,
    RELAY_POSITION,
    RELAY_BEHIND,
    RELAY_MESSAGES,
    *DELIVERY_METRICS,
    SETTLEMENT_PERIODS,
    SETTLEMENT_INVOICES,
    SETTLEMENT_WAITS,
    SETTLEMENT_REACHED,
    SYNTHETIC_TRANSACTIONS,
)
