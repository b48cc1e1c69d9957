"""Counts of a step besides the totals, by groups of requests that belong together."""
