"""The prompt that people read before they approve a release: candidate, risk and evidence as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from perennial.core.display import shown
from perennial.core.release.status import ReleaseStatus
from perennial.core.verdict import Judgement


def subject(status: ReleaseStatus) -> str:
    """Return the title of the prompt."""
    return f"Release {status.candidate.model} {status.candidate.version}?"


def body(status: ReleaseStatus, mlflow: str) -> str:
    """Return the people that are still needed and the gate's report as a table, worst rule first.

    Args:
        mlflow: address of MLflow's pages, without a slash at the end.
    """
    return "\n\n".join(shown(part, lines=True) for part in _parts(status, mlflow))


def _parts(status: ReleaseStatus, mlflow: str) -> Iterator[str]:
    ref, gate = status.candidate, status.gate
    beside = f" in place of {status.champion.version}" if status.champion is not None else ""
    yield f"**{ref.model} {ref.version}**{beside}, digest {ref.digest[:12]}: an approval is of this digest alone."
    yield f"Approvals: **{shown(status.approval_progress)}**."
    if gate is not None:
        reasons = f": {shown('; '.join(gate.risk_reasons))}" if gate.risk_reasons else ""
        yield f"Risk: **{gate.risk.value}**{reasons}."
        if gate.warnings:
            yield f"Warnings: {shown('; '.join(gate.warnings))}."
        rules = sorted(gate.rules, key=lambda rule: -rule.verdict.badness)
        yield "\n".join(
            ["| rule | verdict | observed | needed |", "| --- | --- | --- | --- |", *map(_row, rules)]
        )
    yield f"[The version in MLflow]({mlflow}/#/models/{ref.model}/versions/{ref.key}), with its model card."


def _row(rule: Judgement) -> str:
    cells = (rule.rule, rule.verdict.value, rule.observed, rule.needed)
    return f"| {' | '.join(shown(cell).replace('|', '/') for cell in cells)} |"
