"""One table of metrics: the document says the same, and the dashboard and the alerts name nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dataflows.metrics_table import METRICS, Kind, Metric

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "ops/compose/dashboards/ratemill.json").read_text())
(GROUP,) = yaml.safe_load((ROOT / "ops/compose/alerts.yml").read_text())["groups"]

HEADER = "| metric | type | from | labels | unit | meaning |\n|---|---|---|---|---|---|\n"
# What Prometheus itself says of whatever it scrapes.
FOREIGN_NAMES, FOREIGN_LABELS = {"up"}, {"job", "instance", "le"}
NAME = re.compile(r"\b(?:ratemill_\w+|up\b)")
SELECTOR = re.compile(r"\b(ratemill_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|without|ignoring|on) \(([^)]*)\)")
PLACEHOLDER = re.compile(r"\{\{ *(?:\$labels\.)?(\w+) *\}\}")


def samples_of(metric: Metric) -> set[str]:
    """The names that are scraped for a metric."""
    if metric.kind is Kind.HISTOGRAM:
        return {f"{metric.name}_{suffix}" for suffix in ("bucket", "count", "sum")}
    return {metric.name}


def complaints(expression: str, texts: str) -> list[str]:
    """What an expression, and the texts beside it, name that does not exist."""
    known = {name: metric for metric in METRICS for name in samples_of(metric)}
    names = set(NAME.findall(expression)) - FOREIGN_NAMES
    found = [f"no metric {name}" for name in names - set(known)]
    labels = {label for name in names & set(known) for label in known[name].labels} | FOREIGN_LABELS
    used = [label.strip() for group in GROUPED.findall(expression) for label in group.split(",")]
    used += PLACEHOLDER.findall(texts)
    found += [f"no label {label}" for label in used if label not in labels]
    for name, selected in SELECTOR.findall(expression):
        own = {*known[name].labels} | FOREIGN_LABELS if name in known else set()
        found += [f"{name} has no label {label}" for label in re.findall(r"(\w+) *[=!]", selected) if label not in own]
    return found


def targets() -> Iterator[tuple[str, str]]:
    """Expressions and legends of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"], target["legendFormat"]


def test_the_document_has_exactly_this_table():
    rows = [
        f"| `{metric.name}` | {metric.kind} | {metric.origin} | {', '.join(metric.labels)} | {metric.unit}"
        f" | {metric.meaning} |\n"
        for metric in METRICS
    ]
    text = (ROOT / "docs/metrics.md").read_text()
    table = HEADER + "".join(rows)
    assert table + "\n" in text, f"docs/metrics.md must have this table:\n{table}"
    named = set(re.findall(r"ratemill_\w+", text.replace(table, "")))
    assert named <= {metric.name for metric in METRICS}


def test_names_are_as_prometheus_wants_them():
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert re.fullmatch(r"ratemill_[a-z_]+", metric.name)
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total")
        assert metric.meaning.endswith(".")


@pytest.mark.parametrize(("expression", "legend"), targets(), ids=lambda text: text[:60])
def test_the_dashboard_names_what_there_is(expression, legend):
    assert NAME.search(expression)
    assert complaints(expression, legend) == []


@pytest.mark.parametrize("rule", GROUP["rules"], ids=lambda rule: rule["alert"])
def test_an_alert_names_what_there_is_and_says_what_to_do(rule):
    assert NAME.search(rule["expr"])
    assert complaints(rule["expr"], " ".join(rule["annotations"].values()).replace("$value", "")) == []
    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_dashboard_and_the_alerts_watch_all_that_matters():
    watched = " ".join(expression for expression, _ in targets())
    unwatched = {metric.name for metric in METRICS if not any(name in watched for name in samples_of(metric))}
    assert unwatched == set()
    alerted = " ".join(rule["expr"] for rule in GROUP["rules"])
    for name in ("conservation_difference", "published_age", "lag", "restarts", "ready", "relay_behind", "rejected"):
        assert name in alerted, name


def test_counters_are_rates_and_gauges_are_not():
    """A counter begins at 0 with every run, so its bare value says little; `rate` takes a gauge that falls for one."""
    kinds = {name: metric.kind for metric in METRICS for name in samples_of(metric)}
    for expression in [expression for expression, _ in targets()] + [rule["expr"] for rule in GROUP["rules"]]:
        rated = set(re.findall(r"\b(?:rate|increase)\((ratemill_\w+)", expression))
        for name in set(NAME.findall(expression)) - FOREIGN_NAMES:
            assert (name in rated) == (kinds[name] is not Kind.GAUGE), expression


@pytest.mark.parametrize(
    ("expression", "legend"),
    [
        ("sum(ratemill_no_such)", ""),
        ("ratemill_ready", "{{partition}}"),
        ("sum by (writer) (ratemill_partition_lag_records)", ""),
        ('ratemill_ledger_records{stage="read"}', ""),
        ("ratemill_epoch_seconds", ""),
    ],
)
def test_what_does_not_exist_is_seen(expression, legend):
    assert len(complaints(expression, legend)) == 1
