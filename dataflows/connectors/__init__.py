"""Where data enters and leaves: files, the catalog folder, the ledger."""
