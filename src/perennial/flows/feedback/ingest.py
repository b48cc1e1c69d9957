"""Store the labels, rewards and reviews that the model servers received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from perennial.core.governance.reviews import ForgottenComments, Review
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.tasks.stored import logged_task
from perennial.ports import FeedbackStore


class FeedbackBatch(Protocol):
    """Labels and rewards of a feedback request by an authenticated source."""

    @property
    def at(self) -> datetime: ...
    @property
    def source(self) -> str: ...
    @property
    def models(self) -> tuple[str, ...]:
        """Models that the source may label; empty for every model."""
        ...

    @property
    def labels(self) -> dict[str, float | str]:
        """Numbers, or names of classes."""
        ...

    @property
    def rewards(self) -> dict[str, float]: ...
    @property
    def reviews(self) -> tuple[Review, ...]: ...
    @property
    def again(self) -> bool:
        """Return whether it was read before, and has waited for its predictions since."""
        ...


Batch = TypeVar("Batch", bound=FeedbackBatch)


class Inbox(Protocol[Batch]):
    """Feedback that is received but not stored yet (see `serving.feedback_inbox`)."""

    @property
    def broken(self) -> int:
        """Lines of the last call of `pending` that are no feedback."""
        ...

    def pending(self) -> tuple[Sequence[Batch], Mapping[str, int]]: ...

    def wait_for(self, feedback: Batch, ids: Collection[str]) -> Collection[str]:
        """Keep feedback about predictions that may still arrive pending; return these."""
        ...

    def stored(self, marks: Mapping[str, int]) -> None: ...

    def set_aside(self, source: str, reason: str, ids: Sequence[str]) -> None: ...

    def forget_comments(self, rule: ForgottenComments) -> object:
        """Overwrite the comments of a rule in the files."""
        ...


class Answered(Protocol):
    """Predictions that were really answered (see `serving.evidence.answered`)."""

    def models(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the model of each answered prediction; others are missing."""
        ...

    def tasks(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return the task of each answered prediction as JSON (`core.tasks.stored.logged_task`)."""
        ...


def ingest(inbox: Inbox[Batch], store: FeedbackStore, answered: Answered) -> FeedbackCounts:
    """Store the pending feedback about predictions that were answered, then mark it as stored.

    A comment that a rule of the ledger deletes is not stored, and is overwritten in the files: a serving machine may
    have sent it late. Reviews become labels only where a model's spec says so (`votes.known_labels`).

    What is about a prediction that may still be on its way, in the log of another machine, waits for it.

    A class becomes its place among the classes of the task that the prediction was answered under.

    If the process is killed between the two steps, the same labels are stored again, which changes nothing.
    """
    batches, marks = inbox.pending()
    changed = received = 0
    unknown: Counter[str] = Counter()
    foreign: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    too_often: Counter[str] = Counter()
    newest: dict[str, datetime] = {}
    for batch in batches:
        if not batch.again:
            received += len(batch.labels) + len(batch.rewards) + len(batch.reviews)
        reviewed = {review.prediction_id: review for review in batch.reviews}
        ids = batch.labels.keys() | batch.rewards.keys() | reviewed.keys()
        known = answered.models(ids)
        awaited = inbox.wait_for(batch, ids - known.keys())
        # Sorted below: two ingests that lock the same rows in different orders would wait for each other.
        allowed = {name for name, model in known.items() if not batch.models or model in batch.models}
        labels = _numbers(
            {name: batch.labels[name] for name in sorted(batch.labels.keys() & allowed)}, answered
        )
        rewards = {name: batch.rewards[name] for name in sorted(batch.rewards.keys() & allowed)}
        changed += store.put(labels, batch.at, batch.source, known) if labels else 0
        newest |= {model: batch.at for name in labels if _is_newer(newest, model := known[name], batch.at)}
        changed += store.put_rewards(rewards, batch.at, batch.source) if rewards else 0
        reviews = _with_numbers([reviewed[name] for name in sorted(reviewed.keys() & allowed)], answered)
        often: tuple[str, ...] = ()
        if reviews:
            more, often = store.put_reviews(reviews, batch.at, batch.source, known)
            changed += more
        wrong = (reviewed.keys() & allowed) - {review.prediction_id for review, _ in reviews}
        for counts, reason, refused in (
            (unknown, "unknown", ids - known.keys() - set(awaited)),
            (foreign, "foreign", known.keys() - allowed),
            (invalid, "invalid", ((batch.labels.keys() & allowed) - labels.keys()) | wrong),
            (too_often, "too often", often),
        ):
            if refused:
                counts[batch.source] += len(refused)
                inbox.set_aside(batch.source, reason, sorted(refused))
    for rule in _late(batches, store):
        inbox.forget_comments(rule)
    inbox.stored(marks)
    return FeedbackCounts(
        received,
        changed,
        dict(unknown),
        dict(foreign),
        inbox.broken,
        invalid=dict(invalid),
        newest_labels=newest,
        too_often=dict(too_often),
    )


def _late(batches: Sequence[FeedbackBatch], store: FeedbackStore) -> list[ForgottenComments]:
    """Return the rules that cover a comment of the batches.

    They are read after the batches, so a comment that was appended after its rule swept the files is known here.
    """
    comments = [
        (batch.source, review.prediction_id, batch.at)
        for batch in batches
        for review in batch.reviews
        if review.comment is not None
    ]
    rules = [
        rule for source in sorted({source for source, *_ in comments}) for rule in store.forgotten(source)
    ]
    return [rule for rule in rules if any(rule.covers(*comment) for comment in comments)]


def _is_newer(newest: Mapping[str, datetime], model: str, at: datetime) -> bool:
    return model not in newest or newest[model] < at


def _numbers(labels: Mapping[str, float | str], answered: Answered) -> dict[str, float]:
    """Return the labels that are valid for the task under which each prediction was answered, as numbers."""
    tasks = answered.tasks(labels)
    numbers = {name: logged_task(tasks[name]).vote(label) for name, label in labels.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _with_numbers(reviews: Sequence[Review], answered: Answered) -> list[tuple[Review, float | None]]:
    """Return the reviews that are valid for the task of their prediction, with the right value as a number."""
    values = {review.prediction_id: review.value for review in reviews if review.value is not None}
    numbers = _numbers(values, answered)
    return [
        (review, numbers.get(review.prediction_id))
        for review in reviews
        if review.value is None or review.prediction_id in numbers
    ]
