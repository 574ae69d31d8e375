"""The notification flow against a real broker, a real mail server and real endpoints."""
