"""Profiles of rows by whylogs."""
