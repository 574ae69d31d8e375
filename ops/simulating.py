"""The synthetic flow as `ratemill run synthetic` runs it: to Kafka as time goes by, or whole hours into a file."""

import sys
from pathlib import Path

from dataflows.connectors.catalog_folder import load_catalog
from dataflows.connectors.kafka_client import check_reachable, topic_name
from dataflows.metrics_synthetic import serving_synthetic
from dataflows.settings import Settings
from dataflows.synthetic import TOPIC, SyntheticPlan, run_synthetic
from ops.output import print_table, remark, say
from ops.synthetic_hour import amount_text, decimal_of, write_hour
from rating.catalog import compile_catalog
from rating.synthetic import Pace, simulations
from rating.synthetic_totals import hour_total, totals


def simulate(plan: SyntheticPlan) -> None:
    """Send what is due until told to stop; RatemillError says why that cannot go on."""
    check_reachable(plan.settings)
    if sys.stderr.isatty():
        topic = topic_name(plan.settings, TOPIC)
        remark(f"Sending simulated transactions of test subscriptions to {topic}. Ctrl-C ends it.")
    with serving_synthetic(plan.settings, plan.progress):
        progress = run_synthetic(plan)
    say(f"{progress.total:,} simulated transactions sent.")


def simulate_into(file: Path, catalog_path: Path, settings: Settings) -> None:
    """Write the whole hour of every subscription that is simulated, for `ratemill rate`; says what they will cost."""
    catalog = load_catalog(catalog_path)
    pace = Pace(settings.synthetic_rate, settings.synthetic_shape, settings.synthetic_seed)
    made = simulations(catalog, compile_catalog(catalog), pace)
    counts = write_hour(made, file)
    rows = []
    for each in made:
        known = hour_total(each, totals(each))
        total = "not known" if known is None else amount_text(decimal_of(known), each.product.currency)
        rows.append((each.subscription.id, each.product.reference, counts[each.subscription.id], total))
    print_table(("subscription", "product", "transactions", "the hour's total"), rows)
    say(f"{sum(counts.values()):,} simulated transactions in {file}.")
