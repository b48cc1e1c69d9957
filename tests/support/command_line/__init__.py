"""What the command line offers, for tests that try all of it."""
