"""All tests; `tests.oracle` and `tests.cases` are shared between them."""
