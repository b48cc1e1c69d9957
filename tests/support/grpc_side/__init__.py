"""Callers and servers of the protocol over gRPC."""
