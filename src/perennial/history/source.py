"""A stored CI history as a source of training data."""

from __future__ import annotations

import pandas as pd

from perennial.history.store import HistoryStore, content_hash


class StoredHistory:
    """The Source port over a CI history.

    Args:
        name: of the history.
    """

    def __init__(self, store: HistoryStore, name: str) -> None:
        self._store = store
        self._name = name

    def read(self) -> pd.DataFrame:
        return self._store.load(self._name)

    def revision(self) -> str:
        return content_hash(self.read())

    def terms(self) -> str:
        return self._store.source(self._name).source
