"""Other engines on the same network, beside ours: ``python -m movinet_benchmarks.engines``."""
