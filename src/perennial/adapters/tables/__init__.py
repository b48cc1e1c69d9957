"""Rows of databases, and the tables that Perennial keeps in its state folder."""
