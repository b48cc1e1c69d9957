"""`perennial batch`."""
