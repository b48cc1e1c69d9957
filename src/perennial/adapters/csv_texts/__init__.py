"""Texts of CSV files: encodings, separators, numbers and times in other forms than 1234.5 and ISO 8601."""
