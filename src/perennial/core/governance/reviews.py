"""Reviews of people about answers: what they thought of one, and what the right one would have been. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from perennial.core.events import Payload
from perennial.core.frozen import Frozen, canonical

LONGEST_COMMENT = 2000
MOST_CHANGES = 20
"""Reviews of a prediction that are kept of a source; a further one is not used."""


class ReviewVerdict(StrEnum):
    """Judgement of a person on an answer."""

    ACCEPT = "accept"
    REJECT = "reject"
    MODIFY = "modify"


class Review(Frozen):
    """Review of an answer by a person; who it was is known by the key, and is never part of it."""

    prediction_id: Annotated[str, Field(min_length=1, max_length=64)]
    verdict: ReviewVerdict
    value: float | str | None = Field(None, description="right value, of `modify` alone")
    score: Annotated[float, Field(ge=0, le=1, strict=True)] | None = Field(
        None, description="how good the answer was"
    )
    comment: Annotated[str, Field(min_length=1, max_length=LONGEST_COMMENT)] | None = None
    consent: bool = Field(False, strict=True, description="the person agrees that the comment is kept")

    @field_validator("comment", mode="before")
    @classmethod
    def blank_is_none(cls, comment: object) -> object:
        """A deleted comment is spaces in the file where it stood."""
        return None if isinstance(comment, str) and comment and not comment.strip(" ") else comment

    @model_validator(mode="after")
    def value_of_modify(self) -> Self:
        if (self.value is not None) != (self.verdict is ReviewVerdict.MODIFY):
            raise ValueError("`value` is the right value of `modify`, and of no other verdict")
        return self

    @property
    def to_keep(self) -> Review:
        """The review as it may be written: without its comment, unless the person agrees."""
        return self if self.consent else self.without_comment

    @property
    def without_comment(self) -> Review:
        return self.model_copy(update={"comment": None})

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content, by which the same review again is known."""
        return hashlib.sha256(canonical(self.model_dump(mode="json")).encode()).hexdigest()


class StoredReview(Frozen):
    """A review in the store."""

    at: AwareDatetime
    source: str
    model: str
    review: Review
    number: float | None = Field(description="right value as a number, as labels are stored")
    current: bool = Field(description="the newest of this source about the prediction")


class ForgottenComments(Payload):
    """Payload of `feedback.comments_forgotten`: the comments that a source has sent until a time are deleted.

    It also holds for what arrives later.

    Attributes:
        prediction: only about this prediction; None: about all.
        until: by the time at which a server received the review.
    """

    source: str
    prediction: str | None
    until: AwareDatetime

    def covers(self, source: str, prediction: str, received: datetime) -> bool:
        """Return whether a comment of this source, prediction and time is deleted."""
        return source == self.source and self.prediction in (None, prediction) and received <= self.until
