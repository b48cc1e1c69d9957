"""Backup of all state of a plant, and its restoration into an empty place (ADR 52)."""
