"""Read the users and outcomes of A/B tests, and analyse them. The statistics are in `core.experiment`."""
