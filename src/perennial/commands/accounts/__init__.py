"""Commands on accounts that others keep."""
