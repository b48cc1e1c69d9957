"""An alert, and its form in a file of rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

RUNBOOKS = "runbooks.md"
"""Page of the guide with a heading for each alert, which is its runbook."""


class Severity(StrEnum):
    """How soon a person has to look."""

    CRITICAL = "critical"
    """Now: callers are hurt, or nobody would notice if they were."""
    WARNING = "warning"
    """Same day: somebody looks at it."""
    INFO = "info"
    """When there is time."""


@dataclass(frozen=True)
class Alert:
    """An alert.

    Attributes:
        expr: PromQL; each series that it returns is an alert.
        summary: one line; may contain Prometheus' templates.
        description: figures, and what they are compared with.
        lasting: time for which the condition must hold, as in `5m`.
        labels: further labels.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    lasting: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    def rule(self, guide: str) -> dict[str, Any]:
        """Return the rule; `guide` is the address of the folder of the guide."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.lasting} if self.lasting else {}),
            "labels": {"severity": self.severity.value, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{guide}/{RUNBOOKS}#{self.name.lower()}",
            },
        }
