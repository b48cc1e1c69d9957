"""Perennial: a closed MLOps loop over the open-source tools that ML engineers already run."""

__version__ = "0.1.0"
