"""Invoices as people see them: found by what a person calls them, on a terminal, as JSON, as a page."""
