"""The settlement of a ledger: what is due becomes invoices, from what the ledger has published."""
