"""Copies of what a backup consists of: databases, trees of files or objects, sealed keys."""
