"""The broker of the tests in tests/kafka, here too."""

from tests.kafka.conftest import broker, topic_prefix

__all__ = ["broker", "topic_prefix"]
