"""Makes the tables of docs/performance.md: `python -m benchmarks.run`."""
