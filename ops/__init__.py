"""What operators and analysts hold: the `ratemill` command, SQL views, example catalogs, benchmarks."""
