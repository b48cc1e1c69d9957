"""Reviews in the body of a feedback request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from perennial.core.governance.reviews import Review
from perennial.errors import MalformedInput

HINT = (
    "an entry has prediction_id, verdict (accept, reject, modify), and perhaps value, score, comment, consent"
)


def parse_reviews(entries: Any, value_of: Callable[[Any, int], float | str]) -> tuple[Review, ...]:
    """Parse the list `reviews`; comments without consent are left out.

    Args:
        value_of: right value, place of its review -> checked value; raises MalformedInput.

    Raises:
        MalformedInput: an entry is wrong, or a prediction has two; the message names it.
    """
    if not isinstance(entries, list) or not entries:
        raise MalformedInput("`reviews` is no list of reviews", hint=HINT)
    reviews: dict[str, Review] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise MalformedInput(f"review {place} is no object", hint=HINT)
        value = entry.get("value")
        given = entry if value is None else {**entry, "value": value_of(value, place)}
        try:
            review = Review.model_validate(given).to_keep
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "entry"
            raise MalformedInput(f"review {place}: {where}: {problem['msg']}", hint=HINT) from error
        if reviews.setdefault(review.prediction_id, review) is not review:
            raise MalformedInput(
                f"review {place}: {review.prediction_id!r} has two reviews", hint="send the newer one alone"
            )
    return tuple(reviews.values())
