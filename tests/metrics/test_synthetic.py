"""What the synthetic flow says of itself."""

from dataflows.connectors.event_sink import SendingProgress
from dataflows.metrics_synthetic import SyntheticFacts


def values(facts):
    return {sample.name: sample.value for family in facts.collect() for sample in family.samples}


def test_it_is_ready_once_it_has_producers_and_counts_what_all_workers_sent():
    progress = SendingProgress()
    facts = SyntheticFacts(progress)
    assert facts.why_not_ready() == "the flow is starting"
    assert values(facts) == {"ratemill_ready": 0, "ratemill_synthetic_transactions_total": 0}
    progress.sent.update({0: 3, 1: 4})
    assert facts.why_not_ready() == ""
    assert values(facts) == {"ratemill_ready": 1, "ratemill_synthetic_transactions_total": 7}
