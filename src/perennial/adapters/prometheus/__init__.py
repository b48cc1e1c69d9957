"""Prometheus metrics of the monitor and of A/B tests. The metrics of a model server are in `serving`."""
