"""Counts of received feedback, and what of it is not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class FeedbackCounts:
    """Number of labels and rewards that were read, what became of them, and the broken lines between them.

    Attributes:
        changed: new or changed values.
        unknown: predictions that were never answered, by source; their feedback is not stored.
        foreign: predictions of models that the source may not label, by source; not stored either.
        invalid: predictions whose label is not valid for their kind of task, by source; not stored either.
        broken: lines of the servers' files that are no feedback.
        broken_predictions: lines of the prediction log that are no request.
        too_often: predictions that a source has reviewed too often, by source; the further review is not stored.
        newest_labels: time at which the newest stored label of each model arrived.
    """

    received: int
    changed: int
    unknown: Mapping[str, int] = field(default_factory=dict)
    foreign: Mapping[str, int] = field(default_factory=dict)
    broken: int = 0
    broken_predictions: int = 0
    invalid: Mapping[str, int] = field(default_factory=dict)
    newest_labels: Mapping[str, datetime] = field(default_factory=dict)
    too_often: Mapping[str, int] = field(default_factory=dict)

    @property
    def alarms(self) -> tuple[str, ...]:
        """Return a sentence per problem."""
        texts = [
            f"feedback of {source} for {count} predictions {what}: not used"
            for counts, what in (
                (self.unknown, "that were never answered"),
                (self.foreign, "of other models"),
                (self.invalid, "with a label that is not valid for the kind of task"),
                (self.too_often, "that it has reviewed too often"),
            )
            for source, count in sorted(counts.items())
        ]
        if self.broken:
            texts.append(f"{self.broken} broken lines of feedback skipped")
        if self.broken_predictions:
            texts.append(f"{self.broken_predictions} broken lines of the prediction log skipped")
        return tuple(texts)
