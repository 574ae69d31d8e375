"""The steps between a file and the core: lines, records, columns."""
