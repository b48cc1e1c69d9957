"""Report of a replay: a candidate scored on logged requests."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from perennial.core.evaluation.disagreement import AnswerDisagreement, DisagreementRate
from perennial.core.frozen import Frozen
from perennial.core.monitoring.skew import FeatureSkew


class SegmentDisagreement(Frozen):
    """Disagreement on the rows that share a value of a column."""

    column: str
    value: str
    changed: DisagreementRate


class SchemaBreak(Frozen):
    """Feature of the candidate that is not in the log."""

    feature: str
    recomputed: bool = Field(description="recomputed from the history as of the time of the request")


class ScoringTime(Frozen):
    """Time to load and run the model file, without server and network."""

    load_ms: float = Field(ge=0, description="time to open the file and score a row")
    per_1000_rows_ms: float = Field(ge=0)


class ReplayReport(Frozen):
    """Candidate scored on requests that other versions answered."""

    candidate: str
    digest: str
    first: AwareDatetime
    last: AwareDatetime
    answered_by: dict[str, int] = Field(description="version -> number of rows in the log")
    breaks: tuple[SchemaBreak, ...]
    answers: AnswerDisagreement | None = Field(description="None if a schema break prevented scoring")
    segments: tuple[SegmentDisagreement, ...] = Field((), description="largest disagreement first")
    scoring: ScoringTime | None = None
    skew: tuple[FeatureSkew, ...] = Field(
        (), description="skew of every feature of the candidate, worst first"
    )
    skew_rows: int = Field(0, description="rows with recomputed features")
    skew_note: str = Field("", description="why rows or all of the skew are missing")
