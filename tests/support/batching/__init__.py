"""A project for batches by the command line."""
