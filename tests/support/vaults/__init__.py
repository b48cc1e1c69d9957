"""A vault for tests."""
