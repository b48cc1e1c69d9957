"""Metrics with intervals, comparisons of versions, and checks of the answers of a candidate.

The rules that decide if a figure is good enough for a release are in `core.release.gate`, not here.
"""
