"""Checks of the live rows of a day."""
