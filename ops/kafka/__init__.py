"""The Kafka broker of development and tests: real, one node, on loopback."""
