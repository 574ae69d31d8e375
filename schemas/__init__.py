"""The words of Ratemill: events, catalog, decimals, verdicts, ledger tables. No logic, no I/O."""
