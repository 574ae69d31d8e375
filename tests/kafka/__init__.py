"""What only a real Kafka broker can show."""
