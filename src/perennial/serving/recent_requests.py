"""The newest requests of a model, read from the ends of the prediction log's files without a data frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

TAIL_BYTES = 256 * 1024
NEWEST_FILES = 4


def recent(folder: Path, model: str, count: int) -> list[dict[str, Any]]:
    """Return the newest answered requests by entity as bodies of `predict`, newest first, one per entity.
    Entities without any known feature are left out.

    Torn or invalid lines are skipped: these are examples; `prediction_log_reader` reads all data.

    Args:
        folder: folder of the prediction log.
    """
    newest: dict[bytes, tuple[float, dict[str, Any]]] = {}
    files = sorted((folder / model).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in files[-NEWEST_FILES:]:
        for line in reversed(_tail(path)):
            try:
                request = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            entity = _known_entity(request)
            if not entity:
                continue
            key = orjson.dumps(entity, option=orjson.OPT_SORT_KEYS)
            if key not in newest or newest[key][0] < request["at"]:
                newest[key] = request["at"], {"entities": [entity], "context": request["context"]}
    ordered = sorted(newest.values(), key=lambda timed: timed[0], reverse=True)
    return [body for _, body in ordered[:count]]


def _known_entity(request: Any) -> dict[str, Any] | None:
    """Return the first entity, if the store knew features of it: anybody can ask for entities that do not exist."""
    try:
        known = any(value is not None for value in request["features"][0])
        return request["entities"][0] if known else None
    except (KeyError, IndexError, TypeError):
        return None


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines()
    return lines[1:] if size > TAIL_BYTES else lines
