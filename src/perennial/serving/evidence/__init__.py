"""Checks of what model servers receive as evidence: sources of labels, answered predictions, broken lines."""
