"""The measurement of deliveries works on a tiny size."""

from ops.bench.deliveries import measure


def test_it_delivers_and_measures(broker, topic_prefix):
    found = measure(broker.bootstrap, topic_prefix, 200)
    assert found["notifications"] == 200
    assert found["per_minute"] > 0
    assert found["cores"] >= 0
