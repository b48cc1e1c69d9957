"""Recalibrate a champion on its newest labelled answers: fit, back-test, and register a version for a release."""
