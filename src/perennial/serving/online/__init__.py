"""Reads of the online store."""
