"""What operators and analysts hold: the `ratemill` command, the SQL views, example catalogs, the demo and the benchmarks."""
