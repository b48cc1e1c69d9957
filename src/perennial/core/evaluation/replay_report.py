"""What a replay of logged requests found out about a candidate."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from perennial.core.evaluation.disagreement import AnswerDisagreement, DisagreementRate
from perennial.core.monitoring.skew import FeatureSkew
from perennial.core.spec import Frozen


class SegmentDisagreement(Frozen):
    """The rows that share one value of a column."""

    column: str
    value: str
    changed: DisagreementRate


class SchemaBreak(Frozen):
    """A feature that the candidate needs and the log does not hold."""

    feature: str
    recomputed: bool = Field(description="taken from the history instead, as known at the time")


class ScoringTime(Frozen):
    """How long the model file takes, without server and network."""

    load_ms: float = Field(ge=0, description="open the file and score one row")
    per_1000_rows_ms: float = Field(ge=0)


class ReplayReport(Frozen):
    """A candidate on requests that others have answered."""

    candidate: str
    digest: str
    first: AwareDatetime
    last: AwareDatetime
    answered_by: dict[str, int] = Field(description="version -> rows of the log")
    breaks: tuple[SchemaBreak, ...]
    answers: AnswerDisagreement | None = Field(
        description="None where a break kept the rows from being scored"
    )
    segments: tuple[SegmentDisagreement, ...] = Field((), description="the most changed first")
    scoring: ScoringTime | None = None
    skew: tuple[FeatureSkew, ...] = Field((), description="of every feature of the candidate, worst first")
    skew_rows: int = Field(0, description="rows whose features could be recomputed")
    skew_note: str = Field("", description="why there is no skew, or not of all rows")
