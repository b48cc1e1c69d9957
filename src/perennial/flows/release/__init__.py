"""Bring releases forward, roll back, and watch the traffic between releases. The rules are in `core.release`."""
