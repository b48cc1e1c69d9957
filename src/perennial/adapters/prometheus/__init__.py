"""Metrics of the monitor for Prometheus. The metrics of a model server are in `serving`."""
