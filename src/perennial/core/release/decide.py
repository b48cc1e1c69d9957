"""The release machine: what follows from where a release stands and what was seen. Pure.

    PENDING -> GATED -> AWAITING_APPROVAL -> LOADING -> SHADOW -> CANARY[i] -> PROMOTING -> SUCCEEDED

Which steps there are between LOADING and the end is the strategy's plan (`perennial.core.release.plan`); a
`shadow_only` release ends OBSERVED instead of being promoted.
What goes wrong before traffic ends REJECTED; later it ends ABORTING -> ROLLED_BACK; a newer candidate that
passed its gate makes it SUPERSEDED. A first release has nobody to share with: LOADING -> PROMOTING. One
transition a pass.

Verdicts combine by the worst, FAIL > ERROR > UNSURE > PASS. FAIL aborts, also while paused. ERROR is
tolerated `max_errors_in_a_row` times, then aborts. UNSURE waits until the step's time is over and
`unsure_after` more, then pauses for a person. PASS goes on when the step's time is over. All times are
absolute, so a restart resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from perennial.core.events import Event
from perennial.core.release.abort import aborting, end_release
from perennial.core.release.approving import allowed, awaiting, gated, withdraw
from perennial.core.release.error_budget import champion_moved, close_error_row, count_error, pause
from perennial.core.release.intents import apply_intents
from perennial.core.release.observation import Observation, TransitionResult
from perennial.core.release.phase import Phase
from perennial.core.release.plan import by_server, promotes
from perennial.core.release.status import Pause, ReleaseStatus
from perennial.core.release.step_analysis import begin_next, measured
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Transition
from perennial.core.version import Lifecycle


def decide(status: ReleaseStatus, seen: Observation, now: datetime) -> TransitionResult:
    """The next status, the actions that make the world fit it, and the facts for the ledger.

    Killed before the status is saved, the same call gives the same decision again.
    """
    transition = Transition(status, seen, now)
    if status.phase.is_final():
        return transition.decision()
    _notice_spec(transition)
    withdraw(transition)
    apply_intents(transition)
    if transition.status.phase is status.phase and transition.status.step == status.step:
        if seen.newer is not None and status.phase not in (Phase.PROMOTING, Phase.ABORTING):
            end_release(transition, Phase.SUPERSEDED, f"release {seen.newer} of a newer candidate took over")
        else:
            RULES[status.phase](transition)
            close_error_row(transition)
    return transition.decision()


def _notice_spec(transition: Transition) -> None:
    """A spec edited meanwhile changes nothing here, but whoever looks must learn that it differs."""
    status, now = transition.status, transition.seen.spec_digest
    if now is None or not status.policy_digest or now == status.spec_digest:
        return
    transition.update(spec_digest=now)
    transition.record(
        Event.RELEASE_SPEC_CHANGED,
        keeps=status.policy_digest,
        spec=now,
        why="the spec is again as it was at the start"
        if now == status.policy_digest
        else "the spec was edited: this release keeps the policy that it started with",
    )


def _pending(transition: Transition) -> None:
    """The gate ends this phase (`flows.release.gate`)."""


def _loading(transition: Transition) -> None:
    status, seen = transition.status, transition.seen
    if champion_moved(transition):
        end_release(
            transition, Phase.REJECTED, "the champion is not the one it was gated against: start it again"
        )
        return
    if not allowed(transition):
        return
    if seen.older_active:
        transition.update(note="waits until the release before it has let go of the traffic")
        return
    if status.champion is None and not promotes(status.policy):
        end_release(
            transition, Phase.REJECTED, "there is no champion yet whose requests it could get copies of"
        )
        return
    if status.champion is None:
        transition.enter(Phase.PROMOTING, "the first release: nobody to share traffic with")
        transition.ensure(PoolName.STABLE)
        return
    transition.ensure(PoolName.CANARY)
    if not _loaded(transition, seen.in_canary, PoolName.CANARY) or transition.status.pauses:
        return
    if by_server(status.policy):
        if seen.in_stable is None or seen.in_stable.total == 0:
            count_error(transition, "; ".join(seen.errors) or "the stable pool has no servers to count")
            return
        transition.update(servers=seen.in_stable.total)
    if transition.status.plan and not seen.counters:
        count_error(transition, "; ".join(seen.errors) or "nothing is counted")
        return
    begin_next(transition)


def _promoting(transition: Transition) -> None:
    status, live = transition.status, transition.seen.route
    if live is not None and live.stable.digest == status.candidate.digest:
        _promoted(transition)
        return
    if champion_moved(transition):
        end_release(transition, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    if not allowed(transition):
        return
    transition.ensure(PoolName.STABLE)
    if _loaded(transition, transition.seen.in_stable, PoolName.STABLE) and not transition.status.pauses:
        transition.route(status.alone)


def _promoted(transition: Transition) -> None:
    """A pass after the route moved: no request is on its way to what is dropped here."""
    status = transition.status
    transition.route(status.alone)
    transition.alias("champion", status.candidate.key)
    transition.clear_alias("candidate")
    if status.champion is not None:
        transition.alias("previous", status.champion.key)
        transition.tag(status.champion.key, lifecycle=Lifecycle.ARCHIVED.value)
    _keep_standby(transition)
    transition.finish(Phase.SUCCEEDED, "is champion")


def _keep_standby(transition: Transition) -> None:
    """The canary pool keeps what answers when the stable pool cannot: the champion before, or, where there is
    none, the champion itself. Champions before that leave both pools."""
    status = transition.status
    gone = list(transition.seen.outdated)
    if status.champion is not None and status.kept is None:
        gone.append(status.champion.digest)
    if status.kept is not None:
        transition.ensure(PoolName.CANARY, status.kept)
        transition.drop(PoolName.CANARY, status.candidate.digest)
    else:
        transition.ensure(PoolName.CANARY)
    for digest in gone:
        transition.drop(PoolName.STABLE, digest)
        transition.drop(PoolName.CANARY, digest)


def _loaded(transition: Transition, readiness, pool: PoolName) -> bool:
    """Whether every server of the pool holds the candidate; counts errors, pauses when it takes too long."""
    status = transition.status
    if readiness is not None and readiness.complete:
        if status.errors_in_a_row:
            transition.update(note=f"the {pool} pool holds it")
        return True
    faults = (*transition.seen.errors, *(readiness.errors if readiness is not None else ()))
    if faults:
        count_error(transition, "; ".join(faults))
        return False
    transition.update(note=f"the {pool} pool loads it")
    if transition.now >= status.entered_at + status.policy.unsure_after:
        pause(transition, Pause.NOT_LOADED)
    return False


RULES: dict[Phase, Callable[[Transition], None]] = {
    Phase.PENDING: _pending,
    Phase.GATED: gated,
    Phase.AWAITING_APPROVAL: awaiting,
    Phase.LOADING: _loading,
    Phase.SHADOW: measured,
    Phase.CANARY: measured,
    Phase.PROMOTING: _promoting,
    Phase.ABORTING: aborting,
}
