"""Batches: answers for the rows of a whole file or query, in parts that a killed run does not lose."""
