"""CI history: executions of CI tests, from reports to feature tables."""
