"""SPDX licence expressions against an allow list (license-expression)."""

from __future__ import annotations

import functools
from collections.abc import Collection

from boolean import ParseError
from license_expression import (
    AND,
    OR,
    ExpressionError,
    LicenseExpression,
    LicenseWithExceptionSymbol,
    Licensing,
    get_spdx_licensing,
)

from perennial.core.governance.licensing import LicenceStatus

OWN = "LicenseRef-"
"""SPDX's prefix of a licence that is on no list: allowed only by its full name."""


def licence_status(text: str, allowed: Collection[str]) -> LicenceStatus:
    """Judge a licence by an allow list: `A OR B` needs either of the two, `A AND B` needs both.

    `A WITH exception` is allowed by its full name, or if A is allowed, since exceptions only add permissions.
    """
    tree = _parsed(text)
    if tree is None:
        return LicenceStatus.UNKNOWN
    return LicenceStatus.ALLOWED if _holds(tree, allowed) else LicenceStatus.FORBIDDEN


def is_expression(text: str) -> bool:
    """Return whether a text is an SPDX expression of known licences."""
    return _parsed(text) is not None


@functools.cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> LicenseExpression | None:
    try:
        tree = _licensing().parse(text)
    except (ExpressionError, ParseError):
        return None
    if tree is None:
        return None
    known = _licensing().known_symbols
    keys = _licensing().license_keys(tree)
    return tree if all(key in known or key.startswith(OWN) for key in keys) else None


def _holds(tree: LicenseExpression, allowed: Collection[str]) -> bool:
    if isinstance(tree, OR):
        return any(_holds(part, allowed) for part in tree.args)
    if isinstance(tree, AND):
        return all(_holds(part, allowed) for part in tree.args)
    if isinstance(tree, LicenseWithExceptionSymbol):
        return tree.render() in allowed or tree.license_symbol.key in allowed
    return tree.key in allowed
