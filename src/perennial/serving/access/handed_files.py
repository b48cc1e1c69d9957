"""Small files of the state folder that the control plane hands to every serving machine, as texts in base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

from perennial.errors import ToolError
from perennial.files import PRIVATE, write_bytes

HANDED = (
    "client-keys.json",
    "feedback-sources.json",
    "feast/feature_store.yaml",
    "feast/definitions.json",
    "feast/registry.db",
)
"""Hashes of keys, and what `perennial features publish` has defined; no file with a secret in it."""


def texts(state: Path) -> Iterator[tuple[str, str]]:
    """Yield name and text of each file that is there."""
    for name in HANDED:
        path = state / name
        if path.is_file():
            yield name, b64encode(path.read_bytes()).decode()


def keep(state: Path, name: str, text: str) -> None:
    """Write a file that was handed.

    Raises:
        ToolError: it is none of those that are handed.
    """
    if name not in HANDED:
        raise ToolError(f"{name!r} is no file of a serving machine", hint="are both halves of one version?")
    content, path = b64decode(text, validate=True), state / name
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content, PRIVATE)
