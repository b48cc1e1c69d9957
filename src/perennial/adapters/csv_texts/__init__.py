"""Texts of CSV files: lines that differ from the others, and times in other forms than ISO 8601."""
