"""Score, compare and check models on data and on logged requests. The metrics are defined in `core.evaluation`."""
