"""A Redis for the feature store."""
