"""Fakes of what one database holds: ReleaseStore, Intents, Ledger, FeedbackStore, and Deliveries beside."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from doubles.feedback import only
from doubles.notices import MemoryDeliveries
from perennial.core.events import Entry, Event, LedgerRow
from perennial.core.governance.ledger import GENESIS, StoredRow, chain, stored
from perennial.core.governance.reviews import MOST_CHANGES, ForgottenComments, StoredReview
from perennial.core.release.status import Intent, ReleaseStatus
from perennial.errors import ReleaseConflict


class MemoryStore:
    """The five ports as attributes, like `SqlStore`."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.releases = MemoryReleases(self.ledger)
        self.intents = MemoryIntents()
        self.feedback = MemoryFeedback(self.ledger)
        self.deliveries = MemoryDeliveries()


class MemoryLedger:
    """A list that only grows."""

    def __init__(self) -> None:
        self._rows: list[LedgerRow] = []

    def append(self, entry: Entry) -> LedgerRow:
        previous = self._rows[-1].hash if self._rows else GENESIS
        self._rows.append(chain(entry, len(self._rows) + 1, previous))
        return self._rows[-1]

    def rows(
        self,
        model: str | None = None,
        *,
        kinds: Collection[str] = (),
        release_id: str | None = None,
        until: datetime | None = None,
        after: int | None = None,
        newest: int | None = None,
    ) -> list[LedgerRow]:
        found = [
            row
            for row in self._rows
            if (model is None or row.entry.model == model)
            and (not kinds or row.entry.kind in kinds)
            and (release_id is None or row.entry.release_id == release_id)
            and (until is None or row.entry.at <= until)
            and (after is None or row.seq > after)
        ]
        return found if newest is None else found[max(0, len(found) - newest) :]

    def stored(self) -> Iterator[StoredRow]:
        return (stored(row) for row in self._rows)

    def end(self) -> tuple[int, str]:
        return (self._rows[-1].seq, self._rows[-1].hash) if self._rows else (0, GENESIS)

    def snapshot(self) -> tuple[tuple[int, str], list[StoredRow]]:
        rows = list(self.stored())
        return ((rows[-1].seq, rows[-1].hash) if rows else (0, GENESIS)), rows


@lru_cache(4096)
def parse(body: str) -> ReleaseStatus:
    """Return the status; it is frozen, so the same text may give the same object."""
    return ReleaseStatus.model_validate_json(body)


class MemoryReleases:
    """Statuses as JSON, so that what does not survive a database does not survive here."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger
        self._bodies: dict[str, str] = {}
        self._passes: dict[str, datetime] = {}

    def load(self, release_id: str) -> ReleaseStatus | None:
        body = self._bodies.get(release_id)
        return None if body is None else parse(body)

    def latest(self, model: str) -> list[ReleaseStatus]:
        found = [parse(body) for body in self._bodies.values()]
        mine = [one for one in found if one.model == model]
        return sorted(
            sorted(mine, key=lambda one: one.release_id), key=lambda one: one.started_at, reverse=True
        )

    def active(self, model: str | None = None) -> list[ReleaseStatus]:
        models = {parse(body).model for body in self._bodies.values()} if model is None else {model}
        active = [each for name in models for each in self.latest(name) if not each.phase.is_final()]
        return sorted(active, key=lambda each: each.started_at, reverse=True)

    def save(self, status: ReleaseStatus, expected: int | None, entries: Sequence[Entry]) -> ReleaseStatus:
        stored = self.load(status.release_id)
        if (None if stored is None else stored.revision) != expected:
            raise ReleaseConflict(
                f"release {status.release_id} of {status.model} was changed by somebody else",
                hint="read it again",
            )
        saved = status.model_copy(update={"revision": 0 if expected is None else expected + 1})
        self._bodies[saved.release_id] = saved.model_dump_json()
        for entry in entries:
            self._ledger.append(entry)
        return saved

    def note_pass(self, release_id: str, at: datetime) -> None:
        self._passes[release_id] = at

    def last_pass(self, release_id: str) -> datetime | None:
        return self._passes.get(release_id)


class MemoryIntents:
    """In the order they came; the same id twice is one intent."""

    def __init__(self) -> None:
        self._intents: dict[str, Intent] = {}

    def put(self, intent: Intent) -> None:
        self._intents.setdefault(intent.id, intent)

    def pending(self, release_id: str) -> list[Intent]:
        return [one for one in self._intents.values() if one.release_id == release_id]


class MemoryFeedback:
    """The newest label and reward per source and prediction id, and when each came."""

    def __init__(self, ledger: MemoryLedger | None = None) -> None:
        self._ledger = ledger or MemoryLedger()
        self._labels: Kept = {}
        self._rewards: Kept = {}
        self._reviews: list = []
        self._changes: list[tuple[str, str]] = []

    def put(
        self, labels: Mapping[str, float], received: datetime, source: str, models: Mapping[str, str] = {}
    ) -> int:
        changed = _put(self._labels.setdefault(source, {}), labels, received)
        self._changes += [(models.get(name, ""), name) for name in changed]
        return len(changed)

    def label_changes(self, model: str, after: int | None) -> tuple[int, frozenset[str] | None]:
        newest = len(self._changes)
        if after is not None and after > newest:
            return newest, None
        later = self._changes[newest if after is None else after :]
        return newest, frozenset(name for of, name in later if of in ("", model))

    def labels_of(self, predictions: Collection[str]) -> Mapping[str, Mapping[str, float]]:
        return only(self.labels(), predictions)

    def reviewed_of(self, predictions: Collection[str]) -> Mapping[str, Mapping[str, float]]:
        return only(self.reviewed(), predictions)

    def labels(self, since: datetime | None = None) -> Mapping[str, Mapping[str, float]]:
        return _since(self._labels, since)

    def label_times(self, since: datetime | None = None) -> Mapping[str, float]:
        times: dict[str, float] = {}
        for kept in self._labels.values():
            for name, (_, received) in kept.items():
                if since is None or received >= since:
                    times[name] = min(times.get(name, math.inf), received.timestamp())
        return times

    def put_rewards(self, rewards: Mapping[str, float], received: datetime, source: str) -> int:
        return len(_put(self._rewards.setdefault(source, {}), rewards, received))

    def rewards(self, since: datetime | None = None) -> Mapping[str, Mapping[str, float]]:
        return _since(self._rewards, since)

    def put_reviews(self, reviews, received: datetime, source: str, models: Mapping[str, str]):
        changed, refused = 0, []
        for given, number in reviews:
            review = given
            for rule in self.forgotten(source):
                self.forget_comments(rule)
                if rule.covers(source, given.prediction_id, received):
                    review = given.without_comment
            mine = [
                kept
                for kept in sorted(self._reviews, key=_latest)
                if (kept[1], kept[2].prediction_id) == (source, review.prediction_id)
            ]
            before = [kept for kept in mine if kept[0] <= received]
            if (received, review) in [(kept[0], kept[2]) for kept in mine]:
                continue
            if before and before[-1][2] == review:
                before[-1][-1] = max(before[-1][-1], received)
                self._changes.append((models[review.prediction_id], review.prediction_id))
                continue
            if len(mine) >= MOST_CHANGES:
                refused.append(review.prediction_id)
                continue
            self._reviews.append([received, source, review, number, models[review.prediction_id], received])
            self._changes.append((models[review.prediction_id], review.prediction_id))
            changed += 1
        return changed, tuple(refused)

    def reviews(self, model: str | None = None, since: datetime | None = None) -> list[StoredReview]:
        current = {(kept[1], kept[2].prediction_id): kept for kept in sorted(self._reviews, key=_latest)}
        return [
            StoredReview(at=at, source=source, model=of, review=review, number=number,
                         current=current[source, review.prediction_id] is kept)
            for kept in sorted(self._reviews, key=_place)
            for at, source, review, number, of, _ in [kept]
            if model in (None, of) and (since is None or at >= since)
        ]  # fmt: skip

    def reviewed(self, since: datetime | None = None) -> Mapping[str, Mapping[str, float]]:
        values: dict[str, dict[str, float]] = {}
        current = {(kept[1], kept[2].prediction_id): kept for kept in sorted(self._reviews, key=_latest)}
        for (source, name), (*_, number, _, seen) in current.items():
            if since is None or seen >= since:
                named = values.setdefault(source, {})
                if number is not None:
                    named[name] = number
        return values

    def forget_comments(self, rule: ForgottenComments) -> int:
        forgotten = 0
        for kept in self._reviews:
            if rule.covers(kept[1], kept[2].prediction_id, kept[0]) and kept[2].comment is not None:
                kept[2] = kept[2].without_comment
                self._changes.append((kept[4], kept[2].prediction_id))
                forgotten += 1
        return forgotten

    def forgotten(self, source: str) -> list[ForgottenComments]:
        rows = self._ledger.rows(kinds=(Event.COMMENTS_FORGOTTEN,))
        rules = [ForgottenComments.read(row.entry) for row in rows]
        return [rule for rule in rules if rule.source == source]


def _place(kept):
    return kept[0], kept[2].digest


def _latest(kept):
    return kept[-1], *_place(kept)


Kept = dict[str, dict[str, tuple[float, datetime]]]


def _put(
    kept: dict[str, tuple[float, datetime]], values: Mapping[str, float], received: datetime
) -> dict[str, tuple[float, datetime]]:
    news = {
        name: (float(value), received)
        for name, value in values.items()
        if name not in kept or (kept[name][0] != value and kept[name][1] <= received)
    }
    kept.update(news)
    return news


def _since(kept: Kept, since: datetime | None) -> Mapping[str, Mapping[str, float]]:
    every = {
        source: {name: value for name, (value, at) in named.items() if since is None or at >= since}
        for source, named in kept.items()
    }
    return {source: named for source, named in every.items() if named}
