"""Records of data revisions and data checks."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from perennial.core.frozen import Frozen


class DataRevision(Frozen):
    """A version of the data: a commit of the data repository and the DVC hash of each file."""

    revision: str
    files: dict[str, str] = Field(description="name -> DVC md5")
    message: str = ""


class FailedRule(Frozen):
    """A data check that failed, with sample rows."""

    rule: str
    column: str | None
    observed: str
    rows: tuple[dict[str, Any], ...] = Field((), description="sample rows that break the rule")
    broken: int = Field(0, ge=0, description="number of rows that break it; 0 for a rule about the table")


class CheckReport(Frozen):
    """Result of a suite of checks over a table."""

    suite: str
    table: str
    rows: int
    rules: int
    failed: tuple[FailedRule, ...] = ()
    docs: str | None = Field(None, description="path of the HTML")

    @property
    def ok(self) -> bool:
        return not self.failed


class Validation(Frozen):
    """Data checks that a revision has passed."""

    revision: str
    reports: tuple[CheckReport, ...]
