"""Addresses of SQL databases as people may see them."""

from __future__ import annotations

from sqlalchemy.engine import make_url


def shown(url: str) -> str:
    """Return the address without its password."""
    return make_url(url).render_as_string(hide_password=True)
