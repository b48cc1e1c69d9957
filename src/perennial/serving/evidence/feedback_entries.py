"""Labels, rewards and reviews in the body of a feedback request."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from perennial.core.governance.reviews import Review
from perennial.core.tasks.task import Task
from perennial.core.tasks.values import plain
from perennial.errors import MalformedInput
from perennial.serving.answers import brief
from perennial.serving.evidence.review_entries import parse_reviews

KEYS = tuple({"prediction_id", *values} for values in (("label",), ("reward",), ("label", "reward")))
LONGEST = 200
"""Characters of the name of a class."""
LARGEST = 1e12
"""Largest reward: the sum of squares of larger rewards loses all precision."""


@dataclass(frozen=True)
class Feedback:
    """Labels and rewards of a request body by prediction id; the last value of an id wins.

    Attributes:
        labels: true outcomes: a number, or the name of a class.
        rewards: benefits of the answers in a unit that the model's owner defines; higher is better.
        reviews: what people thought of answers, without comments that they do not agree to.
    """

    labels: dict[str, float | str]
    rewards: dict[str, float]
    reviews: tuple[Review, ...] = ()

    @property
    def predictions(self) -> int:
        reviewed = {review.prediction_id for review in self.reviews}
        return len(self.labels.keys() | self.rewards.keys() | reviewed)


def parse(body: Any, tasks: Collection[Task]) -> Feedback:
    """Parse `{"labels": [{"prediction_id", "label", "reward"}], "reviews": [...]}`; one of the lists may be missing.

    An entry of `labels` has a label, a reward or both; `serving.evidence.review_entries` has the entries of `reviews`.

    Args:
        tasks: those of the models that the source may label; a label must be valid for one of them. With none known,
            `flows.feedback` alone checks it against the task of its prediction.

    Raises:
        MalformedInput: an entry is wrong; the message names it.
    """
    reviews: tuple[Review, ...] = ()
    if isinstance(body, dict) and "reviews" in body:
        reviews = parse_reviews(
            body["reviews"], lambda value, place: _checked_value(value, f"review {place}: value", tasks)
        )
        if "labels" not in body:
            return Feedback({}, {}, reviews)
    entries = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise MalformedInput("the body has no list `labels`", hint='{"labels": [{"prediction_id", "label"}]}')
    feedback = Feedback({}, {}, reviews)
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) not in KEYS:
            raise MalformedInput(
                f"label {number} is {entry!r}",
                hint="its keys must be prediction_id, and label or reward or both",
            )
        name = entry["prediction_id"]
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise MalformedInput(
                f"label {number}: prediction_id is {name!r}", hint="send the prediction_id of the answer"
            )
        if "label" in entry:
            feedback.labels[name] = _checked_value(entry["label"], f"label {number}: label", tasks)
        if "reward" in entry:
            feedback.rewards[name] = _number(entry, "reward", number, -LARGEST, LARGEST)
    return feedback


def _checked_value(value: Any, what: str, tasks: Collection[Task]) -> float | str:
    known = plain(value)
    usable = isinstance(known, float) or (isinstance(known, str) and len(known) <= LONGEST)
    if known is None or not usable or (tasks and all(task.vote(value) is None for task in tasks)):
        valid = " or ".join(dict.fromkeys(task.valid_vote() for task in tasks)) or "a number or a class"
        raise MalformedInput(f"{what} is {brief(value)}", hint=f"it must be {valid}")
    return known


def _number(entry: dict[str, Any], key: str, place: int, low: float, high: float) -> float:
    value = entry[key]
    # A bool is an int in Python; as a reward it would be a mistake of the caller.
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MalformedInput(f"label {place}: {key} is {value!r}", hint="it must be a number")
    if not low <= value <= high:
        raise MalformedInput(
            f"label {place}: {key} is {value!r}", hint=f"it must be from {low:g} to {high:g}"
        )
    return float(value)
