"""Gather what a pass over a release needs to know, and nothing that its phase has no use for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from perennial.core.release import approval
from perennial.core.release.observation import Observation
from perennial.core.release.phase import Phase
from perennial.core.release.plan import by_server
from perennial.core.release.status import Intent, LabelCounts, ReleaseStatus
from perennial.core.release.traffic import PoolName, Route, UserCounts
from perennial.core.release.withdrawal import is_withdrawn, withdrawal_intent
from perennial.errors import DataError, ToolError
from perennial.flows.experiment.gather import assigned_predictions, count_users
from perennial.flows.monitoring.accuracy import accuracy
from perennial.flows.release.served_files import current_seal

if TYPE_CHECKING:
    from perennial.flows.release.ports import ReleasePorts

T = TypeVar("T")
ACCURACY_EVERY = timedelta(seconds=2)
ACCURACY_SHARE = 100
COUNTED = (Phase.LOADING, Phase.SHADOW, Phase.CANARY)


class _Attempts:
    """Measurements that may fail: what failed is told, the rest is kept."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def __call__(self, what: str, measure: Callable[[], T], otherwise: T) -> T:
        try:
            return measure()
        except (ToolError, DataError) as error:
            self.errors.append(f"{what}: {error.message}")
            return otherwise


def observe(status: ReleaseStatus, ports: ReleasePorts, now: datetime) -> Observation:
    """Measure for the phase that the release is in.

    The store and the live route must answer (StoreUnavailable, RouterUnavailable leave this function):
    without them nothing can be decided. Everything else that fails is an error inside the observation.
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
    if phase is Phase.PROMOTING or (phase is Phase.LOADING and by_server(status.policy)):
        seen["in_stable"] = attempt(
            "stable pool", lambda: ports.pool.readiness(PoolName.STABLE, model, digest), None
        )
    if phase in COUNTED:
        seen["counters"] = attempt("router", lambda: dict(ports.router.counters(model)), {})
    if phase.is_measured() or phase is Phase.ABORTING:
        seen["healthy"] = attempt("router", lambda: dict(ports.router.healthy(model)), {})
    if phase.is_measured():
        seen |= {"accuracy": status.accuracy, "accuracy_at": status.accuracy_at, "units": status.units}
        if _is_due(status, now):
            measured = attempt("prediction log", lambda: _accuracy(status, ports), status.accuracy)
            seen |= {"accuracy": measured, "accuracy_at": now}
            if status.current is not None and status.current.mismatch is not None:
                seen["units"] = attempt("prediction log", lambda: _units(status, ports), status.units)
    return Observation(errors=tuple(attempt.errors), **seen)


def _rollbacks(status: ReleaseStatus, live: Route | None, ports: ReleasePorts) -> list[Intent]:
    """What people rolled back, and nobody has written down yet."""
    found = [one for one in ports.journal.pending() if one.applied or one.is_live(live)]
    return [withdrawal_intent(one, status) for one in found if is_withdrawn(one, status)]


def _in_registry(status: ReleaseStatus, ports: ReleasePorts) -> dict[str, Any]:
    """What was said of the approval there, and the seal of the version as the registry has it."""
    record = ports.registry.find(status.model, f"key:{status.candidate.key}")
    if record is None:
        return {}
    tags = {name: value for name, value in record.tags.items() if name.startswith(approval.TAG)}
    return {"registry_answered": True, "tags": tags, "seal": current_seal(record.ref, ports)}


def _neighbours(status: ReleaseStatus, ports: ReleasePorts) -> dict[str, Any]:
    """What other releases of the model mean for this one."""
    everything = ports.releases.latest(status.model)
    others = [one for one in everything if one.release_id != status.release_id]
    active = [one for one in others if not one.phase.is_final()]
    later = [
        one
        for one in others
        if one.is_after(status) and (one.phase is Phase.SUCCEEDED or (one in active and _takes_over(one)))
    ]
    kept = {status.candidate.digest, status.champion.digest if status.champion else ""}
    champions = {one.candidate.digest for one in others if one.phase is Phase.SUCCEEDED}
    return {
        "newer": later[0].release_id if later else None,
        "older_active": any(status.is_after(one) for one in active),
        "shared": any(one.candidate.digest == status.candidate.digest for one in active),
        "outdated": tuple(sorted(champions - kept)),
    }


def _takes_over(one: ReleaseStatus) -> bool:
    """Whether an active release ends those before it: one that fails its gate, or is on its way to be
    rejected, has no claim on their traffic."""
    return one.gate is not None and one.gate.passed and one.outcome is not Phase.REJECTED


def _accuracy(status: ReleaseStatus, ports: ReleasePorts) -> dict[str, LabelCounts]:
    since = status.entered_at
    return accuracy(status.model, since, ports.feedback, ports.predictions, status.policy.feedback)


def _units(status: ReleaseStatus, ports: ReleasePorts) -> UserCounts:
    experiment = status.assignment.experiment
    return count_users(
        assigned_predictions(ports.predictions.read(status.model, since=status.entered_at), experiment)
    )


def _is_due(status: ReleaseStatus, now: datetime) -> bool:
    """The older the step, the more there is to read and the less one more label says: so accuracy is
    measured anew when another hundredth of the step's time has gone by."""
    if status.accuracy_at is None:
        return True
    wait = max(ACCURACY_EVERY, (now - status.entered_at) / ACCURACY_SHARE)
    return now - status.accuracy_at >= wait
