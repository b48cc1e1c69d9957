"""Envoy: configuration, clusters, routes, and its admin interface. Which share a version gets is decided in `core`."""
