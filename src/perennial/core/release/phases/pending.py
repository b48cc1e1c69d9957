"""PENDING: the release is open and its gate is being measured."""

from __future__ import annotations

from perennial.core.release.transition import Transition


def run(transition: Transition) -> None:
    """Do nothing: the gate flow (`flows.release.gate`) ends this phase."""
