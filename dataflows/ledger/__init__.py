"""The ledger as a folder: its files, which of them are published, and how they get there exactly once."""
