"""Which comments in reviews are deleted: a rule in the ledger, which also holds for what arrives later. Pure."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime

from perennial.core.events import Payload


class ForgottenComments(Payload):
    """Payload of `feedback.comments_forgotten`: every comment that a source has sent until a time.

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
