"""Show a release to people and to machines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from perennial.core.display import shown

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table

    from perennial.core.release.status import ReleaseStatus
    from perennial.core.release.traffic import Route
    from perennial.core.verdict import Judgement
    from perennial.flows.release.serving_health import ServingHealth


class LastPass(NamedTuple):
    """Last pass over a release."""

    at: datetime | None = None
    """None: there was none, or its time was not stored yet."""
    unattended: str = ""
    """Why it counts as unattended; empty: it does not."""


NOBODY_WALKS = "nobody walks this release: perennial release reconcile {model} --until-final"
TAKEN_OVER = "was taken over by the failover watch, because nobody walked this release"
SPEC_CHANGED = (
    "edited since the start: this release keeps the policy it started with, the next gets the new one"
)


def summary(
    status: ReleaseStatus,
    route: Route | None,
    now: datetime,
    spec_digest: str | None = None,
    health: ServingHealth | None = None,
    walked: LastPass = LastPass(),
) -> dict[str, Any]:
    """Return plain values for `--json`; unknown values are null.

    Args:
        spec_digest: `policy_digest` of the model's current spec.
        health: health of the serving; None: not looked at.
    """
    canary = route.canary if route is not None else None
    has_share = canary is not None and canary.digest == status.candidate.digest
    left = status.time_left(now)
    dependence = status.dependence_so_far
    return {
        "release": status.release_id,
        "model": status.model,
        "phase": status.phase.value,
        "step": status.step if status.phase.value == "CANARY" else None,
        "strategy": status.policy.strategy.value,
        "steps": [step.weight for step in status.plan if step.phase.value == "CANARY"],
        "spec_changed": status.spec_changed(spec_digest),
        "weight": route.canary_weight if route is not None and has_share else None,
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
        "gate": _plain(status.gate.rules) if status.gate else [],
        "approvals": _plain(status.approvals),
        "approvers_needed": status.approvers_needed,
        "asked_by": list(status.asked_by),
        "evidence": _plain(status.evidence),
        "dependence": None if dependence is None else dependence.model_dump(mode="json"),
        "user_buckets": {pool: len(buckets) for pool, buckets in sorted(status.users.items())},
        "user_problems": list(status.users_problems),
        "errors_in_a_row": status.errors_in_a_row,
        "why": status.note,
        "started_at": status.started_at.isoformat(),
        "entered_at": status.entered_at.isoformat(),
        "revision": status.revision,
        "last_pass": walked.at.isoformat() if walked.at is not None else None,
        "unattended": bool(walked.unattended),
    }


def show(
    status: ReleaseStatus,
    route: Route | None,
    now: datetime,
    spec_digest: str | None = None,
    health: ServingHealth | None = None,
    walked: LastPass = LastPass(),
) -> None:
    """Print the state of a release and its evidence as two tables."""
    from rich.console import Console
    from rich.table import Table

    values = summary(status, route, now, spec_digest, health, walked)
    facts = Table(
        title=f"release {status.release_id} of {status.model}", show_header=False, title_justify="left"
    )
    _add_row(facts, "phase", _phase(values))
    _add_row(facts, "strategy", values["strategy"])
    if values["spec_changed"]:
        _add_row(facts, "spec", SPEC_CHANGED)
    _add_row(facts, "candidate", str(status.candidate))
    _add_row(facts, "champion", str(status.champion) if status.champion else "none yet")
    _add_row(facts, "traffic now", _traffic(route))
    _add_row(facts, "backup", _backup(values))
    for problem in values["problems"]:
        _add_row(facts, "not ready", problem)
    _add_row(facts, "weight", "-" if values["weight"] is None else f"{values['weight']:g} %")
    _add_row(facts, "time left", "-" if values["seconds_left"] is None else _span(values["seconds_left"]))
    if values["unattended"]:
        _add_row(facts, "unattended", walked.unattended)
    _add_row(facts, "last pass", f"{walked.at:%Y-%m-%d %H:%M:%S} UTC" if walked.at else "none yet")
    for problem in values["user_problems"]:
        _add_row(facts, "users", f"some answers may be missing: {problem}")
    _add_row(facts, "paused", "; ".join(values["paused"]) or "no")
    _add_row(
        facts, "risk", "; ".join((values["risk"], *status.gate.risk_reasons)) if status.gate else "not gated"
    )
    _add_row(facts, "asked by", ", ".join(status.asked_by) or "no person")
    if status.gate:
        _add_row(facts, "approvals", status.approval_progress)
    for approval in status.approvals:
        _add_row(facts, "approved", f"{approval.actor} ({approval.channel}) {approval.note}")
    if values["dependence"]:
        _add_row(facts, "errors depend", str(status.dependence_so_far))
    _add_row(facts, "why", status.note)
    console = Console()
    console.print(facts)
    rules: tuple[Judgement, ...] = status.evidence or (status.gate.rules if status.gate else ())
    if rules:
        evidence = Table(title="evidence" if status.evidence else "gate", title_justify="left")
        for name in ("rule", "verdict", "observed", "needed"):
            evidence.add_column(name, overflow="fold")
        for rule in rules:
            _add_row(evidence, rule.rule, rule.verdict.value, rule.observed, rule.needed)
        console.print(evidence)


def _plain(values: Iterable[BaseModel]) -> list[dict[str, Any]]:
    return [value.model_dump(mode="json") for value in values]


def _traffic(route: Route | None) -> str:
    """Return the champion of the live route; after a rollback that is not the newest released version."""
    if route is None:
        return "nobody"
    return f"{route.stable.version} ({route.stable.digest[:12]}), {100 - route.canary_weight:g} %"


def _backup(values: dict[str, Any]) -> str:
    """Return the version that answers when the champion cannot, and whether it does."""
    if values["failover_since"]:
        backup = values["backup"] or "the other pool"
        return f"{backup} ANSWERS IN PLACE of the champion since {values['failover_since']}"
    count = values["backup_answered"]
    return f"{values['backup'] or 'none'}, answered {'?' if count is None else count} requests so far"


def _phase(values: dict[str, Any]) -> str:
    if values["step"] is None:
        return str(values["phase"])
    return f"{values['phase']}, step {values['step'] + 1} of {len(values['steps'])}"


def _add_row(table: Table, *cells: str) -> None:
    """Add a row whose cells are shown as they are: no control characters, no markup of the terminal."""
    from rich.text import Text

    table.add_row(*(Text(shown(cell)) for cell in cells))


def _span(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def history_line(status: ReleaseStatus) -> str:
    """Return a release as a line of the list."""
    before = f"after {status.champion.version}" if status.champion else "the first"
    return shown(
        f"{status.started_at:%Y-%m-%d %H:%M:%S} {status.release_id} {status.candidate.version} "
        f"({status.candidate.digest[:12]}, {before}) {status.phase.value}: {status.note}"
    )
