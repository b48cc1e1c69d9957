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
from perennial.core.release.abort import aborting, leave
from perennial.core.release.approving import allowed, awaiting, gated, withdraw
from perennial.core.release.error_budget import champion_moved, count_error, end_row, pause
from perennial.core.release.intents import obey
from perennial.core.release.observation import Decision, Observation
from perennial.core.release.plan import by_server, promotes
from perennial.core.release.status import Pause, Phase, ReleaseStatus
from perennial.core.release.step_analysis import begin_next, measured
from perennial.core.release.traffic import PoolName
from perennial.core.release.transition import Turn
from perennial.core.version import Lifecycle


def decide(status: ReleaseStatus, seen: Observation, now: datetime) -> Decision:
    """The next status, the actions that make the world fit it, and the facts for the ledger.

    Killed before the status is saved, the same call gives the same decision again.
    """
    turn = Turn(status, seen, now)
    if status.phase.is_final():
        return turn.decision()
    _notice_spec(turn)
    withdraw(turn)
    obey(turn)
    if turn.status.phase is status.phase and turn.status.step == status.step:
        if seen.newer is not None and status.phase not in (Phase.PROMOTING, Phase.ABORTING):
            leave(turn, Phase.SUPERSEDED, f"release {seen.newer} of a newer candidate took over")
        else:
            RULES[status.phase](turn)
            end_row(turn)
    return turn.decision()


def _notice_spec(turn: Turn) -> None:
    """A spec edited meanwhile changes nothing here, but whoever looks must learn that it differs."""
    status, now = turn.status, turn.seen.spec_digest
    if now is None or not status.policy_digest or now == status.spec_digest:
        return
    turn.update(spec_digest=now)
    turn.record(
        Event.RELEASE_SPEC_CHANGED,
        keeps=status.policy_digest,
        spec=now,
        why="the spec is again as it was at the start"
        if now == status.policy_digest
        else "the spec was edited: this release keeps the policy that it started with",
    )


def _pending(turn: Turn) -> None:
    """The gate ends this phase (`flows.release.gate`)."""


def _loading(turn: Turn) -> None:
    status, seen = turn.status, turn.seen
    if champion_moved(turn):
        leave(turn, Phase.REJECTED, "the champion is not the one it was gated against: start it again")
        return
    if not allowed(turn):
        return
    if seen.older_active:
        turn.update(note="waits until the release before it has let go of the traffic")
        return
    if status.champion is None and not promotes(status.policy):
        leave(turn, Phase.REJECTED, "there is no champion yet whose requests it could get copies of")
        return
    if status.champion is None:
        turn.enter(Phase.PROMOTING, "the first release: nobody to share traffic with")
        turn.ensure(PoolName.STABLE)
        return
    turn.ensure(PoolName.CANARY)
    if not _loaded(turn, seen.in_canary, PoolName.CANARY) or turn.status.pauses:
        return
    if by_server(status.policy):
        if seen.in_stable is None or seen.in_stable.total == 0:
            count_error(turn, "; ".join(seen.errors) or "the stable pool has no servers to count")
            return
        turn.update(servers=seen.in_stable.total)
    if turn.status.plan and not seen.counters:
        count_error(turn, "; ".join(seen.errors) or "nothing is counted")
        return
    begin_next(turn)


def _promoting(turn: Turn) -> None:
    status, live = turn.status, turn.seen.route
    if live is not None and live.stable.digest == status.candidate.digest:
        _promoted(turn)
        return
    if champion_moved(turn):
        leave(turn, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    if not allowed(turn):
        return
    turn.ensure(PoolName.STABLE)
    if _loaded(turn, turn.seen.in_stable, PoolName.STABLE) and not turn.status.pauses:
        turn.route(status.alone)


def _promoted(turn: Turn) -> None:
    """A pass after the route moved: no request is on its way to what is dropped here."""
    status = turn.status
    turn.route(status.alone)
    turn.alias("champion", status.candidate.key)
    turn.clear_alias("candidate")
    if status.champion is not None:
        turn.alias("previous", status.champion.key)
        turn.tag(status.champion.key, lifecycle=Lifecycle.ARCHIVED.value)
    _keep_standby(turn)
    turn.finish(Phase.SUCCEEDED, "is champion")


def _keep_standby(turn: Turn) -> None:
    """The canary pool keeps what answers when the stable pool cannot: the champion before, or, where there is
    none, the champion itself. Champions before that leave both pools."""
    status = turn.status
    gone = list(turn.seen.outdated)
    if status.champion is not None and status.kept is None:
        gone.append(status.champion.digest)
    if status.kept is not None:
        turn.ensure(PoolName.CANARY, status.kept)
        turn.drop(PoolName.CANARY, status.candidate.digest)
    else:
        turn.ensure(PoolName.CANARY)
    for digest in gone:
        turn.drop(PoolName.STABLE, digest)
        turn.drop(PoolName.CANARY, digest)


def _loaded(turn: Turn, readiness, pool: PoolName) -> bool:
    """Whether every server of the pool holds the candidate; counts errors, pauses when it takes too long."""
    status = turn.status
    if readiness is not None and readiness.complete:
        if status.errors_in_a_row:
            turn.update(note=f"the {pool} pool holds it")
        return True
    faults = (*turn.seen.errors, *(readiness.errors if readiness is not None else ()))
    if faults:
        count_error(turn, "; ".join(faults))
        return False
    turn.update(note=f"the {pool} pool loads it")
    if turn.now >= status.entered_at + status.policy.unsure_after:
        pause(turn, Pause.NOT_LOADED)
    return False


RULES: dict[Phase, Callable[[Turn], None]] = {
    Phase.PENDING: _pending,
    Phase.GATED: gated,
    Phase.AWAITING_APPROVAL: awaiting,
    Phase.LOADING: _loading,
    Phase.SHADOW: measured,
    Phase.CANARY: measured,
    Phase.PROMOTING: _promoting,
    Phase.ABORTING: aborting,
}
