"""The newest requests of a model, read from the ends of the prediction log's files without a data frame."""

from __future__ import annotations

import contextlib
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

TAIL_BYTES = 256 * 1024
NEWEST_FILES = 4
TAIL_ROWS = 2000
"""Rows of a sealed segment that are looked at."""


def recent(folder: Path, model: str, count: int) -> list[dict[str, Any]]:
    """Return the newest answered requests by entity as bodies of `predict`, newest first, one per entity.
    Entities without any known feature are left out.

    Torn or invalid lines are skipped: these are examples; `prediction_log_reader` reads all data.

    Args:
        folder: folder of the prediction log.
    """
    newest: dict[bytes, tuple[float, dict[str, Any]]] = {}
    while True:
        with contextlib.suppress(FileNotFoundError):  # sealed or merged in between: look again
            _keep_newest(_of_journals(folder, model), newest)
            if len(newest) < count:
                _keep_newest(_of_segments(folder, model), newest)
            break
    ordered = sorted(newest.values(), key=lambda timed: timed[0], reverse=True)
    return [body for _, body in ordered[:count]]


def _keep_newest(requests: Iterable[Any], newest: dict[bytes, tuple[float, dict[str, Any]]]) -> None:
    """Add the newest request of each entity."""
    for request in requests:
        entity = _known_entity(request)
        if not entity:
            continue
        key = orjson.dumps(entity, option=orjson.OPT_SORT_KEYS)
        if key not in newest or newest[key][0] < request["at"]:
            newest[key] = request["at"], {"entities": [entity], "context": request["context"]}


def _of_journals(folder: Path, model: str) -> Iterator[Any]:
    files = sorted((folder / model).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in files[-NEWEST_FILES:]:
        for line in reversed(_tail(path)):
            with contextlib.suppress(orjson.JSONDecodeError):
                yield orjson.loads(line)


def _of_segments(folder: Path, model: str) -> Iterator[Any]:
    if not any((folder / model).glob("*/*.parquet")):
        return
    # Parquet takes a while to import, and a rollback is in a hurry: only where the journals have too little.
    from perennial.serving.log import sealed

    paths, _ = sealed.segments(folder, model)
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)[-NEWEST_FILES:]:
        yield from reversed(sealed.newest(path, TAIL_ROWS))


def _known_entity(request: Any) -> dict[str, Any] | None:
    """Return the first entity, if the store knew features of it: anybody can ask for entities that do not exist."""
    try:
        known = any(
            value is not None and value == value for value in _first_row(request)
        )  # NaN is not itself
        return request["entities"][0] if known else None
    except (KeyError, IndexError, TypeError, ValueError, struct.error):
        return None


def _first_row(request: Any) -> Sequence[float | None]:
    features = request["features"]
    if not isinstance(features, str):
        row: list[float | None] = features[0]
        return row
    return struct.unpack_from(f"<{len(request['names'])}f", b64decode(features))


def _tail(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines()
    return lines[1:] if size > TAIL_BYTES else lines
