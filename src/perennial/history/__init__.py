"""Executions of CI tests: one data source, from reports to feature tables."""
