"""Alerting: promises of a model, burn rates of their budgets, and the messages about alerts."""
