"""Models that others hand over."""
