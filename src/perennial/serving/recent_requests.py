"""What was asked last, from the ends of the prediction log's files: no frame, no whole log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

TAIL_BYTES = 256 * 1024
NEWEST_FILES = 4


def recent(folder: Path, model: str, count: int) -> list[dict[str, Any]]:
    """The newest requests by entity that were answered, newest first, one entity each, as bodies of `predict`.

    Lines that are torn or no JSON are left out: this looks for examples, `PredictionLogReader` for truth.

    Args:
        folder: of the prediction log.
    """
    found: dict[bytes, tuple[float, dict[str, Any]]] = {}
    files = sorted((folder / model).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in files[-NEWEST_FILES:]:
        for line in reversed(_tail(path)):
            try:
                request = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            entity = request["entities"][0]
            if not entity:
                continue
            key = orjson.dumps(entity, option=orjson.OPT_SORT_KEYS)
            body = {"entities": [entity], "context": request.get("context", {})}
            if key not in found or found[key][0] < request["at"]:
                found[key] = (request["at"], body)
    newest = sorted(found.values(), key=lambda one: one[0], reverse=True)
    return [body for _, body in newest[:count]]


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines()
    return lines[1:] if size > TAIL_BYTES else lines
