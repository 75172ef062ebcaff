"""One command per claim: `python -m benchmarks.<name> --help`."""
