"""The YAML of a feature view with chosen windows."""

from __future__ import annotations

from perennial.core.feature_view import ViewSpec
from perennial.core.training.drafts.thresholds import quote


def view_text(view: ViewSpec, why: str) -> str:
    """Return the YAML of a view.

    Args:
        why: a line for people: who chose the windows, and by what.
    """
    content = view.model_dump(mode="json")
    windows = "".join(f"  - {quote(window)}\n" for window in content["windows"])
    return f"""\
# A feature view: docs/guide/features.md.
# {why}
description: {quote(view.description)}
entity: {view.entity}
times: {quote(content["times"])}
ttl: null
source: {quote(content["source"])}
columns: {quote(content["columns"])}
windows:
{windows}"""
