"""Metrics and health without a broker; what is scraped from a running flow is tested in tests/kafka."""
