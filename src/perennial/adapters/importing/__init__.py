"""Readers of finished models, one per file format; none of them executes what a file brings along."""
