"""What the labels of a look cost: followed from look to look, and read whole at each one, as the monitor did before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.adapters.sql.store import SqlStore
from perennial.flows.feedback.votes import known_labels, quality, votes
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.serving.following.growing import GrowingPredictionLog
from watch_parts.plant import DIGEST, Server, utc

LABELLED = 0.9
"""Share of the answers with a label: with fewer than 99 % all of a day stay unjudged."""


class Labels:
    """The labels of a server's answers, of one source, in an SQLite file."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server, self.rng = server, np.random.default_rng(1)
        self.store = SqlStore(f"sqlite:///{folder / 'state.db'}").feedback
        self.begin = utc() - timedelta(days=1)
        self.watched = WatchedLog(GrowingPredictionLog(server.log))

    def open(self) -> pd.DataFrame:
        """Return the answers that are not judged, with all that came."""
        return self.watched.rows(self.server.spec, DIGEST, self.begin, utc()).unjudged(self.begin)

    def label(self, known: WatchedLog, until: datetime) -> None:
        """Store labels of the answers since a time that have none."""
        rows = known.rows(self.server.spec, DIGEST, self.begin, utc()).unjudged(self.begin)
        names = rows["prediction_id"][rows["at"] >= until].astype(object)
        given = names[self.rng.random(len(names)) < LABELLED]
        source = self.server.spec.release.feedback.sole_source
        drawn = (self.rng.random(len(given)) < 0.3).astype(float)
        model = dict.fromkeys(given, self.server.spec.name)
        self.store.put(dict(zip(given, drawn, strict=True)), utc(), source, model)

    def followed(self) -> Callable[[], object]:
        spec = self.server.spec

        def look() -> object:
            rows = self.open()
            value = self.watched.votes(spec, self.store).values(rows)
            window = self.watched.rows(spec, DIGEST, self.begin, utc()).window(utc()).rows
            return value, window.merge(self.watched.votes(spec, self.store).about(window), on="prediction_id")

        return look

    def whole(self) -> Callable[[], object]:
        spec, policy = self.server.spec, self.server.spec.release.feedback

        def look() -> object:
            rows = self.open()
            labels = known_labels(policy, self.store, self.begin)
            named = rows["prediction_id"].isin({name for given in labels.values() for name in given})
            value = quality(rows[named].astype({"prediction_id": object}), labels, policy)
            window = self.watched.rows(spec, DIGEST, self.begin, utc()).window(utc()).rows
            labels = known_labels(policy, self.store, window["at"].iloc[0].to_pydatetime())
            return value, window.merge(votes(labels), on="prediction_id")

        return look
