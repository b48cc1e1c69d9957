"""`python -m perennial` is `perennial`."""

from perennial.cli import script

script()
