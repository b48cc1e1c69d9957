"""A prediction log that is uploaded."""
