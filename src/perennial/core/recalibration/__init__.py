"""Recalibration: a new calibration for trained weights, between trainings."""
