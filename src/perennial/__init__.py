"""Perennial: one closed MLOps loop over the open-source stack that ML engineers already run."""

__version__ = "0.1.0"
