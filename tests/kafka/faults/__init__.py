"""Faults of every kind while gateways send: afterwards the ledger is that of an undisturbed run, and the oracle's."""
