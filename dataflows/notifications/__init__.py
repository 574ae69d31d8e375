"""Delivery of notifications: from their topic into a store, and from there to mail servers and webhooks."""
