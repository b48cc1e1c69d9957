"""What is known of a data revision and of a data check."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from perennial.core.frozen import Frozen


class DataRevision(Frozen):
    """Names bytes of data: a commit of the data repository and the DVC hash per file."""

    revision: str
    files: dict[str, str] = Field(description="name -> DVC md5")
    message: str = ""


class FailedRule(Frozen):
    """One rule that did not hold, with enough to act on."""

    rule: str
    column: str | None
    observed: str
    rows: tuple[dict[str, Any], ...] = Field((), description="sample rows that break it")


class CheckReport(Frozen):
    """The outcome of one suite over one table."""

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
    """The data checks that one revision has passed."""

    revision: str
    reports: tuple[CheckReport, ...]
