"""How a release looks to a person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus
    from perennial.core.release.traffic import Route


@dataclass(frozen=True)
class ServingHealth:
    """Of what serves a model.

    Attributes:
        backup_answered: requests in place of the champion since the router's start; None: it does not say.
        failover_since: ISO time since when the backup stands in; None: it does not.
        problems: what model servers say is wrong, each with its address.
    """

    backup_answered: int | None
    failover_since: str | None
    problems: tuple[str, ...]


SPEC_CHANGED = (
    "edited since the start: this release keeps the policy it started with, the next gets the new one"
)


def summary(
    status: ReleaseStatus,
    route: Route | None,
    now: datetime,
    spec_digest: str | None = None,
    health: ServingHealth | None = None,
) -> dict[str, Any]:
    """Plain values for `--json`; what is not known is null.

    Args:
        spec_digest: `policy_digest` of the model's spec as it is now.
        health: of what serves; absent: not looked at.
    """
    live = route is not None and route.canary is not None
    mine = live and route.canary.digest == status.candidate.digest
    left = status.time_left(now)
    return {
        "release": status.release_id,
        "model": status.model,
        "phase": status.phase.value,
        "step": status.step if status.phase.value == "CANARY" else None,
        "strategy": status.policy.strategy.value,
        "steps": [step.weight for step in status.plan if step.phase.value == "CANARY"],
        "spec_changed": status.spec_changed(spec_digest),
        "weight": route.canary_weight if mine else None,
        "candidate": status.candidate.model_dump(),
        "champion": status.champion.model_dump() if status.champion else None,
        "live_champion": route.stable.version if route is not None else None,
        "backup": route.backup.version if route is not None and route.backup is not None else None,
        "backup_answered": health.backup_answered if health is not None else None,
        "failover_since": health.failover_since if health is not None else None,
        "problems": list(health.problems) if health is not None else [],
        "seconds_left": None if left is None else round(left.total_seconds(), 1),
        "paused": sorted(reason.value for reason in status.pauses),
        "risk": status.gate.risk.value if status.gate else None,
        "gate": [one.model_dump(mode="json") for one in status.gate.rules] if status.gate else [],
        "approvals": [one.model_dump(mode="json") for one in status.approvals],
        "approvers_needed": status.approvers_needed,
        "asked_by": list(status.asked_by),
        "evidence": [one.model_dump(mode="json") for one in status.evidence],
        "errors_in_a_row": status.errors_in_a_row,
        "why": status.note,
        "started_at": status.started_at.isoformat(),
        "entered_at": status.entered_at.isoformat(),
        "revision": status.revision,
    }


def show(
    status: ReleaseStatus,
    route: Route | None,
    now: datetime,
    spec_digest: str | None = None,
    health: ServingHealth | None = None,
) -> None:
    """Two tables: where it stands, and the evidence."""
    from rich.console import Console
    from rich.table import Table

    told = summary(status, route, now, spec_digest, health)
    facts = Table(
        title=f"release {status.release_id} of {status.model}", show_header=False, title_justify="left"
    )
    facts.add_row("phase", _phase(told))
    facts.add_row("strategy", told["strategy"])
    if told["spec_changed"]:
        facts.add_row("spec", SPEC_CHANGED)
    facts.add_row("candidate", str(status.candidate))
    facts.add_row("champion", str(status.champion) if status.champion else "none yet")
    facts.add_row("traffic now", _traffic(route))
    facts.add_row("backup", _backup(told))
    for words in told["problems"]:
        facts.add_row("not ready", words)
    facts.add_row("weight", "-" if told["weight"] is None else f"{told['weight']:g} %")
    facts.add_row("time left", "-" if told["seconds_left"] is None else _span(told["seconds_left"]))
    facts.add_row("paused", "; ".join(told["paused"]) or "no")
    facts.add_row(
        "risk", "; ".join((told["risk"], *status.gate.risk_reasons)) if status.gate else "not gated"
    )
    facts.add_row("asked by", ", ".join(status.asked_by) or "no person")
    if status.gate:
        facts.add_row("approvals", status.approval_progress)
    for one in status.approvals:
        facts.add_row("approved", f"{one.actor} ({one.channel}) {one.note}")
    facts.add_row("why", status.note)
    console = Console()
    console.print(facts)
    rules = status.evidence or (status.gate.rules if status.gate else ())
    if rules:
        evidence = Table(title="evidence" if status.evidence else "gate", title_justify="left")
        for name in ("rule", "verdict", "observed", "needed"):
            evidence.add_column(name, overflow="fold")
        for one in rules:
            evidence.add_row(one.rule, one.verdict.value, one.observed, one.needed)
        console.print(evidence)


def _traffic(route: Route | None) -> str:
    """Who answers, by the live route: after a rollback that is not who won the newest release."""
    if route is None:
        return "nobody"
    return f"{route.stable.version} ({route.stable.digest[:12]}), {100 - route.canary_weight:g} %"


def _backup(told: dict[str, Any]) -> str:
    """Who answers when the champion cannot, and whether it does."""
    if told["failover_since"]:
        return f"{told['backup'] or 'the other pool'} ANSWERS IN PLACE of the champion since {told['failover_since']}"
    count = told["backup_answered"]
    return f"{told['backup'] or 'none'}, answered {'?' if count is None else count} requests so far"


def _phase(told: dict[str, Any]) -> str:
    if told["step"] is None:
        return told["phase"]
    return f"{told['phase']}, step {told['step'] + 1} of {len(told['steps'])}"


def _span(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def history_line(one: ReleaseStatus) -> str:
    """One release as one line."""
    before = f"after {one.champion.version}" if one.champion else "the first"
    return (
        f"{one.started_at:%Y-%m-%d %H:%M:%S} {one.release_id} {one.candidate.version} "
        f"({one.candidate.digest[:12]}, {before}) {one.phase.value}: {one.note}"
    )
