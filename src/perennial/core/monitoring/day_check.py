"""Check of a day of live rows: rules of the training data, missing values, requests, freshness; and its findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.monitoring.levels import Level, MonitorVerdict, traffic_share
from perennial.core.monitoring.volume import DayRequests, Volume
from perennial.core.monitoring_spec import UpstreamSpec

LASTS = timedelta(days=2)
"""Time after the end of its day from which a check says nothing of today."""


class BrokenRule(Frozen):
    """A rule of the training data that live rows break."""

    suite: str
    rule: str
    column: str | None
    observed: str
    share: float = Field(ge=0, le=1, description="of the rows of the day")

    def __str__(self) -> str:
        about = self.rule if self.column is None else f"{self.column}: {self.rule}"
        return f"rows that break the rule of the training data {about} ({self.observed})"


class ColumnProfile(Frozen):
    """Figures of a column over one or several days."""

    column: str
    rows: int
    missing: float = Field(ge=0, le=1, description="share of missing values")
    distinct: float = Field(description="different values, estimated")
    mean: float | None = Field(None, description="of numbers, as the following")
    least: float | None = None
    median: float | None = None
    most: float | None = None


class DayCheck(Frozen):
    """Result of the check of a day, UTC."""

    model: str
    digest: str = Field(description="of the champion")
    day: date
    made: AwareDatetime
    rows: int = Field(ge=0, description="answers of the champion to clients that were checked")
    answers: int | None = Field(
        None,
        description="all of them; null: a check that read all. Fewer are checked of busy days and clients",
    )
    checked: int = Field(ge=0, description="rules that were checked")
    unchecked: tuple[str, ...] = Field(
        (), description="rules about a whole table, about columns that the log lacks, or that raised an error"
    )
    broken: tuple[BrokenRule, ...] = ()
    columns: tuple[str, ...] = Field((), description="columns that only the reference or only the log has")
    missing: tuple[str, ...] = Field((), description="sentences on newly missing features")
    requests: DayRequests | None = Field(None, description="of all versions; null: an earlier check")
    volumes: tuple[Volume, ...] = ()
    features_age: timedelta | None = Field(
        None, description="of the newest stored value when the check was made; null: no store, or none seen"
    )
    promised_age: timedelta | None = Field(None, description="by the spec's `slo`")
    limits: UpstreamSpec = Field(description="of the spec at that time")

    def is_newer(self, now: datetime) -> bool:
        """Return whether the check still speaks of today, whenever it was made."""
        ended = datetime.combine(self.day, time(), UTC) + timedelta(days=1)
        return ended <= now < ended + LASTS

    def findings(self) -> Iterator[tuple[Level, str]]:
        """Yield each finding, at most a warning, with its size."""
        if self.columns:
            yield Level.WARN, f"the log and the reference differ in the columns {', '.join(self.columns[:5])}"
        for text in self.missing:
            yield Level.WARN, text
        for rule in self.broken:
            level, text = traffic_share(self.limits.broken_rows, rule.share, str(rule))
            if level is not Level.OK:
                yield level, text
        for volume in self.volumes:
            if volume.is_unusual(self.limits.volume):
                yield Level.WATCH, str(volume)
        age, promised = self.features_age, self.promised_age
        if age is not None and promised is not None and age > promised:
            days = [value / timedelta(days=1) for value in (age, promised)]
            yield (
                Level.WARN,
                f"the newest stored feature value is {days[0]:.1f} days old, {days[1]:.1f} promised",
            )


@dataclass(frozen=True)
class KeptChecks:
    """The checks of a model's days: the newest that can be read, the merged profiles, what cannot be read."""

    newest: DayCheck | None = None
    profile: tuple[ColumnProfile, ...] = ()
    unread: tuple[str, ...] = ()
    """A sentence for each file, with what to do."""


def with_check(judged: MonitorVerdict, check: DayCheck | None) -> MonitorVerdict:
    """Return the verdict with the findings of the newest check of a day; its warnings are faults of the source."""
    if check is None:
        return judged
    findings = sorted(check.findings(), key=lambda finding: -finding[0].rank)
    first = len(judged.causes)
    said = tuple(f"{check.day}: {text}" for _, text in findings)
    return judged.model_copy(
        update={
            "level": max([judged.level, *(level for level, _ in findings)], key=lambda level: level.rank),
            "faults": (
                *judged.faults,
                *(text for (level, _), text in zip(findings, said, strict=True) if level is Level.WARN),
            ),
            "reasons": (*judged.reasons[:first], *said, *judged.reasons[first:]),
        }
    )
