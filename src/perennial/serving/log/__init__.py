"""Sealed segments of the prediction log."""
