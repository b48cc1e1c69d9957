"""Score, compare and check models on data and on logged requests. The figures are defined in `core.evaluation`."""
