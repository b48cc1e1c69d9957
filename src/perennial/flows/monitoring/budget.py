"""How the budgets of false alarms and of false drift warnings are divided, and how many of both there were."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from perennial.core.events import Event
from perennial.core.frozen import Frozen
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.harm_detector import MONTH
from perennial.core.monitoring.levels import Level
from perennial.core.monitoring.measured import LEVEL
from perennial.core.payloads import LevelChange
from perennial.ports import DetectorStore, Ledger


class BudgetLine(Frozen):
    """Share of a model, and what its detector has seen."""

    model: str
    share: float = Field(description="false alarms in 30 days, at most, in expectation")
    days_per_alarm: float = Field(description="days between false alarms, at least, in expectation")
    rows_per_month: float | None = Field(None, description="labelled predictions in 30 days")
    rows_per_alarm: float | None = Field(None, description="labelled predictions between false alarms")
    labelled: float | None = Field(None, description="share of the predictions that had a label in time")
    evidence: float | None = Field(None, description="an alarm is due from 1")
    alarms: int = Field(0, description="of the last 30 days, true and false ones")
    harm: str | None = Field(None, description="the alarm that lasts")
    drift_share: float = Field(description="false drift warnings in 30 days, at most, in expectation")
    warn_level: float = Field(description="p-value up to which a look warns of drift")
    warnings: int = Field(
        description="changes to level warn in the last 30 days, by any finding, true and false"
    )

    def __str__(self) -> str:
        text = f"{self.model}: {self.share:.3g} a month (one in {self.days_per_alarm:.0f} days"
        if self.rows_per_alarm is not None:
            text += f" or {self.rows_per_alarm:,.0f} labels at {self.rows_per_month:,.0f} a month"
        text += f"), {self.alarms} alarms in the last 30 days"
        if self.evidence is not None:
            text += f", evidence {self.evidence:.2g} of 1, {self.labelled:.0%} labelled in time"
        else:
            text += ", no labels counted yet"
        text += f"; drift: {self.drift_share:.3g} a month, a look warns from p {self.warn_level:.1g} down"
        text += f", {self.warnings} changes to level warn in the last 30 days, whatever their cause"
        return f"{text}; {self.harm}" if self.harm else text


def budget_lines(
    budget: AlarmBudget, detectors: DetectorStore, ledger: Ledger, now: datetime
) -> list[BudgetLine]:
    """Return a line per model, in the order of the budget."""
    return [_line(model, budget, detectors, ledger, now) for model in budget.models]


def _line(
    model: str, budget: AlarmBudget, detectors: DetectorStore, ledger: Ledger, now: datetime
) -> BudgetLine:
    stored = detectors.load(model)
    changes = ledger.rows(model, kinds=[Event.MONITOR_LEVEL])
    line = BudgetLine(
        model=model,
        share=budget.share,
        days_per_alarm=MONTH.days / budget.share,
        drift_share=budget.drift_share,
        warn_level=min(LEVEL, budget.warn_level),
        warnings=sum(
            row.entry.at >= now - MONTH and LevelChange.read(row.entry).to == Level.WARN for row in changes
        ),
    )
    if stored is None:
        return line
    _, state = stored
    figures: dict[str, float | int | str | None] = {"alarms": state.alarms_since(now - MONTH)}
    if state.seen:
        figures |= {
            "rows_per_month": state.rows_per_month(),
            "rows_per_alarm": state.arl_rows(budget.share),
            "labelled": state.labelled / state.seen,
            "evidence": sum(state.evidence) / len(state.evidence),
            "harm": None if state.harm is None else str(state.harm),
        }
    return line.model_copy(update=figures)
