"""The benchmark: the core alone, and file -> ledger with recovery on, beside the bare limit measured in the same run.

`python -m ops.bench` measures, prints a table with the floors, and writes docs/bench. Each measurement runs in a
process of its own, so that nothing is warm and peak memory is that of the measured work alone.
"""
