"""Formats of the manifest of a version. A rollback reads it: nothing slow is imported here."""

from __future__ import annotations

from typing import Any


def with_task(manifest: Any) -> Any:
    """Return the content of a manifest with a task; format 1 has a threshold instead, and means a ranking."""
    if not isinstance(manifest, dict) or manifest.get("format", 1) != 1 or "threshold" not in manifest:
        return manifest
    rest = {name: value for name, value in manifest.items() if name != "threshold"}
    return {**rest, "format": 1, "task": {"kind": "ranking", "threshold": manifest["threshold"]}}
