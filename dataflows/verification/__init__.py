"""Verification: the ledger computed once more from its own events, and compared with what it says."""
