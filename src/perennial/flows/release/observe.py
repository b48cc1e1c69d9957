"""Measure what a pass over a release needs in its phase."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release import approval
from perennial.core.release.counted.user_buckets import UserBuckets
from perennial.core.release.label_counts import LabelledStep, without_overlap
from perennial.core.release.observation import Observation
from perennial.core.release.phase import Phase
from perennial.core.release.plan import by_server
from perennial.core.release.status import Intent, ReleaseStatus
from perennial.core.release.traffic import PoolName, Route, UserCounts
from perennial.core.release.withdrawal import is_withdrawn, withdrawal_intent
from perennial.errors import DataError, ToolError
from perennial.flows.experiment.gather import assigned_predictions, count_users
from perennial.flows.monitoring.accuracy import Span, accuracy_by_step
from perennial.flows.monitoring.label_delays import label_delay
from perennial.flows.release.like_requests import like_requests
from perennial.flows.release.served_files import current_seal

if TYPE_CHECKING:
    from perennial.flows.release.ports import ReleasePorts

Measured = TypeVar("Measured")
Default = TypeVar("Default")
ACCURACY_EVERY = timedelta(seconds=2)
ACCURACY_SHARE = 100
COUNTED = (Phase.LOADING, Phase.SHADOW, Phase.CANARY)


class _Attempts:
    """Measurements that may fail; the failures are collected."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, source: str, measure: Callable[[], Measured], default: Default) -> Measured | Default:
        """Return the measurement, or the default where it fails."""
        try:
            return measure()
        except (ToolError, DataError) as error:
            self.errors.append(f"{source}: {error.message}")
            return default


def observe(status: ReleaseStatus, ports: ReleasePorts, now: datetime) -> Observation:
    """Return the observation for the phase of the release; other failures than these are errors inside it.

    Raises:
        StoreUnavailable, RouterUnavailable: without the store and the live route nothing can be decided.
    """
    model, digest, phase = status.model, status.candidate.digest, status.phase
    live = ports.router.route(model)
    attempt = _Attempts()
    seen: dict[str, Any] = {
        "route": live,
        "spec_digest": ports.spec_digest(model),
        # In this order: a rollback enters the journal before it moves the route, and leaves it after its intent.
        "intents": (*_rollbacks(status, live, ports), *ports.intents.pending(status.release_id)),
        **_neighbours(status, ports),
    }
    if phase is Phase.AWAITING_APPROVAL:
        seen |= attempt("registry", lambda: _in_registry(status, ports), {})
    if phase in (Phase.LOADING, Phase.PROMOTING):
        seen["seal"] = attempt("files", lambda: current_seal(status.candidate, ports), None)
    if phase is Phase.LOADING:
        seen["in_canary"] = attempt(
            "canary pool", lambda: ports.pool.readiness(PoolName.CANARY, model, digest), None
        )
    if phase is Phase.LOADING and status.champion is not None:
        champion = status.champion.digest
        seen["champion"] = attempt(
            "stable pool", lambda: ports.pool.readiness(PoolName.STABLE, model, champion), None
        )
    if phase is Phase.PROMOTING or (phase is Phase.LOADING and by_server(status.policy)):
        seen["in_stable"] = attempt(
            "stable pool", lambda: ports.pool.readiness(PoolName.STABLE, model, digest), None
        )
    if phase in COUNTED:
        seen["counters"] = attempt("router", lambda: dict(ports.router.counters(model)), {})
        seen["user_buckets"] = _answers_of_users(status, live, ports)
    if phase.is_measured() or phase is Phase.ABORTING:
        seen["healthy"] = attempt("router", lambda: dict(ports.router.healthy(model)), {})
    if phase.is_measured():
        seen |= {
            "accuracy": status.accuracy,
            "labelled_steps": without_overlap(status.labelled_steps, status.entered_at),
            "accuracy_at": status.accuracy_at,
            "label_delay": status.label_delay,
            "units": status.units,
            "like_requests": status.like_requests,
        }
        due = _is_due(status, now)
        if status.suspected_slow and (due or status.like_requests is None):
            seen["like_requests"] = attempt(
                "prediction log", lambda: like_requests(status, ports.predictions), status.like_requests
            )
        if due:
            delay = status.label_delay
            if delay is None:
                delay = attempt(
                    "prediction log",
                    lambda: label_delay(model, ports.predictions, ports.feedback, now),
                    None,
                )
            labels = attempt("prediction log", lambda: _accuracy(status, ports, now, delay), {})
            seen |= {**labels, "accuracy_at": now, "label_delay": delay}
            if status.current is not None and status.current.mismatch is not None:
                seen["units"] = attempt("prediction log", lambda: _units(status, ports), status.units)
    return Observation(errors=tuple(attempt.errors), **seen)


def _answers_of_users(status: ReleaseStatus, live: Route | None, ports: ReleasePorts) -> UserBuckets:
    """Return the new answers by bucket of users.

    Where they cannot be read the totals still count: the reason is kept, and the next look reads from the same place.
    """
    split = live.split if live is not None else None
    try:
        return ports.router.answers_of_users(split, status.users_read)
    except ToolError as error:
        return UserBuckets(after=status.users_read, read=status.users_read, problems=(error.message,))


def _rollbacks(status: ReleaseStatus, live: Route | None, ports: ReleasePorts) -> list[Intent]:
    """Return intents for rollbacks that moved the traffic and are not on record yet."""
    rollbacks = [entry for entry in ports.journal.pending() if entry.applied or entry.is_live(live)]
    return [withdrawal_intent(rollback, status) for rollback in rollbacks if is_withdrawn(rollback, status)]


def _in_registry(status: ReleaseStatus, ports: ReleasePorts) -> dict[str, Any]:
    """Return the approval tags in the registry, and the seal of the version that it has."""
    record = ports.registry.find(status.model, f"key:{status.candidate.key}")
    if record is None:
        return {}
    tags = {name: value for name, value in record.tags.items() if name.startswith(approval.TAG)}
    return {"registry_answered": True, "tags": tags, "seal": current_seal(record.ref, ports)}


def _neighbours(status: ReleaseStatus, ports: ReleasePorts) -> dict[str, Any]:
    """Return how the other releases of the model affect this one."""
    releases = ports.releases.latest(status.model)
    others = [release for release in releases if release.release_id != status.release_id]
    active = [release for release in others if not release.phase.is_final()]
    later = [
        release
        for release in others
        if release.is_after(status)
        and (release.phase is Phase.SUCCEEDED or (release in active and _takes_over(release)))
    ]
    kept = {status.candidate.digest, status.champion.digest if status.champion else ""}
    champions = {release.candidate.digest for release in others if release.phase is Phase.SUCCEEDED}
    return {
        "newer": later[0].release_id if later else None,
        "older_active": any(status.is_after(release) for release in active),
        "shared": any(release.candidate.digest == status.candidate.digest for release in active),
        "outdated": tuple(sorted(champions - kept)),
    }


def _takes_over(release: ReleaseStatus) -> bool:
    """Return whether an active release supersedes those before it: it passed its gate and is not being rejected."""
    return release.gate is not None and release.gate.passed and release.outcome is not Phase.REJECTED


def _accuracy(
    status: ReleaseStatus, ports: ReleasePorts, now: datetime, delay: LabelDelay | None
) -> dict[str, Any]:
    """Return the labels of this step and of those before it."""
    steps = without_overlap(status.labelled_steps, status.entered_at)
    spans = [*(Span(step.began, step.ended) for step in steps), Span(status.entered_at)]
    *earlier, current = accuracy_by_step(
        status.model, spans, ports.feedback, ports.predictions, status.policy.feedback, now=now, delay=delay
    )
    labelled: tuple[LabelledStep, ...] = tuple(
        step.model_copy(update={"labels": labels}) for step, labels in zip(steps, earlier, strict=True)
    )
    return {"accuracy": current, "labelled_steps": labelled}


def _units(status: ReleaseStatus, ports: ReleasePorts) -> UserCounts:
    experiment = status.assignment.experiment
    return count_users(
        assigned_predictions(ports.predictions.read(status.model, since=status.entered_at), experiment)
    )


def _is_due(status: ReleaseStatus, now: datetime) -> bool:
    """Return whether to measure accuracy again: after another hundredth of the time whose labels count.

    The longer that is, the longer the log and the less a further label tells.
    """
    if status.accuracy_at is None:
        return True
    began = min((step.began for step in status.labelled_steps), default=status.entered_at)
    wait = max(ACCURACY_EVERY, (now - began) / ACCURACY_SHARE)
    return now - status.accuracy_at >= wait
