"""Time of the newest stored value of each feature view, in a file beside the registry of Feast.

The stores themselves would have to be read as a whole; reading this file needs no import of Feast.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial import files
from perennial.core.spec import ModelSpec
from perennial.errors import FeaturesUnavailable

if TYPE_CHECKING:
    import pandas as pd

FILE = "newest.json"


def note(folder: Path, tables: Mapping[str, pd.DataFrame], event_times: Mapping[str, str]) -> None:
    """Store the newest event time of each table that has rows, unless a later one is stored already.

    Args:
        folder: of the published features; the caller holds its lock.
        event_times: view -> column with the event time.
    """
    newest = read(folder)
    for view, table in tables.items():
        if not table.empty:
            at = table[event_times[view]].max().to_pydatetime(warn=False)
            newest[view] = max(at, newest.get(view, at))
    files.write_json(folder / FILE, {view: at.isoformat() for view, at in sorted(newest.items())})


def read(folder: Path) -> dict[str, datetime]:
    """Return the newest event time by view; empty where nothing was published since this file exists.

    Raises:
        FeaturesUnavailable: the file cannot be read.
    """
    path = folder / FILE
    try:
        return {view: datetime.fromisoformat(at) for view, at in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise FeaturesUnavailable(
            f"{path}: {error}", hint="perennial features publish makes it anew"
        ) from error


def by_model(folder: Path, specs: Iterable[ModelSpec]) -> dict[str, datetime]:
    """Return, for each model that reads stored values, the newest time of that of its views which is oldest.

    Raises:
        FeaturesUnavailable: the file cannot be read.
    """
    newest = read(folder)
    times = {
        spec.name: [newest[view] for view in _views(spec) if view in newest]
        for spec in specs
        if spec.features.source == "store"
    }
    return {model: min(of_views) for model, of_views in times.items() if of_views}


def _views(spec: ModelSpec) -> set[str]:
    return {column.partition(":")[0] for column in spec.features.columns}
