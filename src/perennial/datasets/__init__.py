"""Rows of the data sets of the reference models: functions that `data.source.read` of a spec names."""
