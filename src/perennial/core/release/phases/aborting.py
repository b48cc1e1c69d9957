"""ABORTING: the candidate loses its traffic, then its place in the pools."""

from __future__ import annotations

from perennial.core.release.abort import withdraw_candidate
from perennial.core.release.transition import Transition


def run(transition: Transition) -> None:
    """Withdraw the candidate; the pass that asked for the abort has done the first part of it."""
    withdraw_candidate(transition)
