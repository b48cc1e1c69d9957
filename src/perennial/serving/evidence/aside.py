"""Broken lines of logs: kept aside in files of their own, so that the lines around them are read."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 64 * 1024
MOST_FILES = 1000
FOLDER = "aside"


def keep_aside(folder: Path, path: Path, offset: int, line: bytes) -> None:
    """Copy the start of a broken line below `folder`; the same line again replaces its copy.

    Best effort: a full disk or a read-only folder must not stop the reading of the other lines.
    """
    aside = folder / FOLDER
    try:
        aside.mkdir(parents=True, exist_ok=True)
        target = aside / f"{path.parent.name}-{path.name}-{offset}.line"
        if target.exists() or sum(1 for _ in aside.iterdir()) < MOST_FILES:
            target.write_bytes(line[:MOST_BYTES])
            target.chmod(0o600)
    except OSError:
        return
