"""What a metric is: a name, a type, who knows its values, a unit and a meaning. The metrics are in `metrics_table`."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily


class Kind(StrEnum):
    """The types of metrics, as Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Origin(StrEnum):
    """Who knows the values of a metric: any flow, the rating flow's supervisor and so on, or another flow by name."""

    FLOW = "flow"
    SUPERVISOR = "supervisor"
    PROCESSES = "processes"
    LEDGER = "ledger"
    KAFKA = "Kafka"
    RELAY = "relay"
    NOTIFICATIONS = "notifications"
    SYNTHETIC = "synthetic"
    SETTLEMENT = "settlement"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name as it is scraped, the unit of its values, and what they mean, in a sentence."""

    name: str
    kind: Kind
    origin: Origin
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()

    def family(self, samples: Iterable[tuple[Iterable[object], float]]) -> CounterMetricFamily | GaugeMetricFamily:
        """The metric with these samples: the values of its labels, and its own."""
        made = CounterMetricFamily if self.kind is Kind.COUNTER else GaugeMetricFamily
        family = made(self.name, self.meaning, labels=self.labels)
        for labels, value in samples:
            family.add_metric([str(label) for label in labels], value)
        return family

    def one(self, value: float) -> CounterMetricFamily | GaugeMetricFamily:
        """The metric, which has no labels, with this value."""
        return self.family([((), value)])
