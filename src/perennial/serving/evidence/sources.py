"""The feedback sources of an installation."""

from __future__ import annotations

from pathlib import Path

from perennial.core.governance.feedback_sources import MARK, FeedbackSource
from perennial.serving.access.key_file import KeyFile

HINT = (
    "perennial feedback source add NAME prints the key of a new source; send it as x-perennial-feedback-key"
)
REFUSAL = "feedback without the key of a known source"


class FeedbackSources(KeyFile[FeedbackSource]):
    """Sources by name; `holder` returns the source that a key belongs to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, FeedbackSource, MARK, "feedback sources", REFUSAL, HINT)
