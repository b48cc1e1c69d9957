"""The number of examples of a property test: a quarter in every run, all of them with `make test-deep`."""

from __future__ import annotations

from hypothesis import settings

DEEP, EVERY_RUN = 100, 25
"""Examples of a property test that gives no number, in the two profiles of `tests/conftest.py`."""


def examples(deep: int) -> int:
    """Return the share of `deep` examples that the loaded profile asks for."""
    return max(5, round(deep * settings().max_examples / DEEP))
