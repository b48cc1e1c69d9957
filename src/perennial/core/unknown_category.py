"""Words of the error about a category that is not in the spec."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from perennial.core.input_spec import InputKind, InputSpec

LISTED = 200
"""Most characters of a list of categories."""
COMPARED = 60
"""Characters of a value that are compared."""


def listing(categories: Sequence[str]) -> str:
    """Return categories for an error, cut to `LISTED` characters."""
    text = ", ".join(map(repr, categories))
    return text if len(text) <= LISTED else f"{text[:LISTED]}..."


def refusal_hint(spec: InputSpec, value: Any, reason: str) -> str:
    """Return why a value is refused; of an unknown category with those that a typing error is nearest to.

    Only for an error of its own: for each row of a batch the search would take minutes.
    """
    if spec.type is not InputKind.CATEGORY or not isinstance(value, str):
        return reason
    folded = {category.casefold(): category for category in spec.categories}
    near = get_close_matches(value[:COMPARED].casefold(), list(folded), n=3)
    if near:
        names = listing([folded[name] for name in near])
        reason = f"nearest of the {len(spec.categories)} known: {names}"
    return f"{reason}; with `unknown: missing` in the spec it would count as a missing value"
