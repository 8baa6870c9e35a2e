"""How fast nbtrain is, measured side by side: ``python -m benchmarks NAME``."""
