"""The release machine: what follows from where a release stands and what was seen. Pure.

    PENDING -> GATED -> AWAITING_APPROVAL -> LOADING -> SHADOW -> CANARY[i] -> PROMOTING -> SUCCEEDED

What goes wrong before traffic ends REJECTED; later it ends ABORTING -> ROLLED_BACK; a newer gated candidate
makes it SUPERSEDED. A first release has nobody to share with: LOADING -> PROMOTING. One transition a pass.

Verdicts combine by the worst, FAIL > ERROR > UNSURE > PASS. FAIL aborts, also while paused. ERROR is
tolerated `max_errors_in_a_row` times, then aborts. UNSURE waits until the step's time is over and
`unsure_after` more, then pauses for a person. PASS goes on when the step's time is over. All times are
absolute, so a restart resumes.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from perennial.core import approval
from perennial.core.approval import Approval, TagAnswer
from perennial.core.criteria import judge_traffic, unmeasured
from perennial.core.intents import grant, obey
from perennial.core.leaving import aborting, leave
from perennial.core.observation import Decision, Observation
from perennial.core.release import Labelled, Pause, Phase, ReleaseStatus
from perennial.core.traffic import Counters, PoolName, Route
from perennial.core.turn import Turn
from perennial.core.verdict import Judgement, Verdict, worst
from perennial.core.version import Lifecycle

ERROR_SPACING = timedelta(seconds=10)
"""Errors nearer than this count once: how often a release is looked at must not decide when it dies, and a
model server that was killed needs half a minute on a busy machine until it answers again."""


def decide(status: ReleaseStatus, seen: Observation, now: datetime) -> Decision:
    """The next status, the actions that make the world fit it, and the facts for the ledger.

    Killed before the status is saved, the same call gives the same decision again.
    """
    turn = Turn(status, seen, now)
    if status.phase.is_final():
        return turn.decision()
    obey(turn)
    if turn.status.phase is status.phase and turn.status.step == status.step:
        if seen.newer is not None and status.phase not in (Phase.PROMOTING, Phase.ABORTING):
            leave(turn, Phase.SUPERSEDED, f"release {seen.newer} of a newer candidate took over")
        else:
            RULES[status.phase](turn)
    return turn.decision()


def _pending(turn: Turn) -> None:
    """The gate ends this phase (`flows.gate`)."""


def _gated(turn: Turn) -> None:
    status = turn.status
    if status.gate is None or not status.gate.passed:
        leave(turn, Phase.REJECTED, "the gate has not passed")
        return
    given = approval.automatic(status.approval_policy, status.gate.risk, status.candidate.digest, turn.now)
    if given is not None:
        grant(turn, given)
        return
    why = "; ".join(status.gate.risk_reasons) or "the spec wants a person"
    turn.enter(Phase.AWAITING_APPROVAL, f"waits for a person: {status.gate.risk.value} risk ({why})")


def _awaiting(turn: Turn) -> None:
    digest = turn.status.candidate.digest
    answer = approval.read_tag(turn.seen.approval_tag, digest)
    if answer is TagAnswer.APPROVED:
        note = f"tag {approval.TAG}={turn.seen.approval_tag}"
        grant(turn, Approval(digest=digest, actor="mlflow", at=turn.now, channel="mlflow", note=note))
    elif answer is TagAnswer.REJECTED:
        leave(turn, Phase.REJECTED, "rejected by the tag in MLflow", actor="mlflow")
    elif answer is not TagAnswer.NONE:
        turn.update(note=f"waits for a person: tag {approval.TAG} is {answer.value}")


def _loading(turn: Turn) -> None:
    status, seen = turn.status, turn.seen
    if _champion_moved(turn):
        leave(turn, Phase.REJECTED, "the champion is not the one it was gated against: start it again")
        return
    given = status.approval
    if given is None or not given.valid(status.candidate.digest, status.approval_policy, turn.now):
        turn.update(approval=None)
        turn.enter(Phase.AWAITING_APPROVAL, "the approval lapsed before the candidate got traffic")
        return
    if seen.older_active:
        turn.update(note="waits until the release before it has let go of the traffic")
        return
    if status.champion is None:
        turn.enter(Phase.PROMOTING, "the first release: nobody to share traffic with")
        turn.ensure(PoolName.STABLE)
        return
    turn.ensure(PoolName.CANARY)
    if not _loaded(turn, seen.in_canary, PoolName.CANARY) or turn.status.pauses:
        return
    if not seen.counters:
        _error(turn, "; ".join(seen.errors) or "nothing is counted")
    elif status.policy.shadow is not None:
        turn.enter(Phase.SHADOW, "gets copies of the requests")
        _share(turn)
    else:
        turn.enter(Phase.CANARY, f"answers {status.policy.steps[0].weight:g} % of the requests")
        _share(turn)


def _measured(turn: Turn) -> None:
    """SHADOW and each step of CANARY."""
    if _champion_moved(turn):
        leave(turn, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    judgements = _judgements(turn)
    turn.update(evidence=judgements, accuracy=turn.seen.accuracy, accuracy_at=turn.seen.accuracy_at)
    verdict = worst(judgements)
    if verdict is Verdict.FAIL:
        bad = "; ".join(f"{one.rule}: {one.observed}" for one in judgements if one.verdict is verdict)
        leave(turn, Phase.ROLLED_BACK, bad)
        return
    if verdict is Verdict.ERROR:
        _error(turn, next(one.observed for one in judgements if one.verdict is verdict))
        if not turn.status.phase.is_measured():
            return
    elif turn.status.errors_in_a_row:
        turn.update(errors_in_a_row=0, last_error_at=None, note="measured again")
    _go_on(turn, verdict)
    if turn.status.phase.is_measured():
        _share(turn)


def _judgements(turn: Turn) -> tuple[Judgement, ...]:
    status, seen = turn.status, turn.seen
    faults = [unmeasured(why) for why in seen.errors]
    if seen.healthy.get(PoolName.CANARY) == 0:
        faults.append(unmeasured("no healthy server in the canary pool"))
    if not seen.counters:
        return tuple(faults or [unmeasured("nothing is counted")])
    if not status.baseline:  # nothing was counted when the step began: it begins now
        turn.update(baseline=dict(seen.counters))
        status = turn.status
    nothing, champion = Counters(), status.champion
    mine, theirs = (
        seen.counters.get(pool, nothing).since(status.baseline.get(pool, nothing))
        for pool in (PoolName.CANARY, PoolName.STABLE)
    )
    judged = judge_traffic(
        status.policy.criteria,
        mine,
        theirs,
        seen.accuracy.get(status.candidate.digest, Labelled()),
        seen.accuracy.get(champion.digest, Labelled()) if champion else Labelled(),
        promotes=status.phase is Phase.CANARY and status.step + 1 == len(status.policy.steps),
        elapsed=turn.now - status.entered_at,
    )
    return (*faults, *judged)


def _go_on(turn: Turn, verdict: Verdict) -> None:
    """To the next step when this one's time is over and the evidence is good."""
    status = turn.status
    end = status.entered_at + (status.duration or timedelta(0))
    if status.pauses or turn.now < end:
        return
    if verdict is not Verdict.PASS:
        if turn.now >= end + status.policy.unsure_after:
            _pause(turn, Pause.UNSURE)
        return
    steps = status.policy.steps
    following = 0 if status.phase is Phase.SHADOW else status.step + 1
    if following < len(steps):
        turn.enter(Phase.CANARY, f"answers {steps[following].weight:g} % of the requests", step=following)
    else:
        turn.enter(Phase.PROMOTING, "passed every step")
        turn.ensure(PoolName.STABLE)


def _share(turn: Turn) -> None:
    """The route that the phase asks for; only an approved digest gets one that names it."""
    status, live = turn.status, turn.seen.route
    if live is None or not status.approved:
        raise AssertionError(f"release {status.release_id}: a share without champion or approval")
    mirror = status.phase is Phase.SHADOW
    turn.route(
        Route(
            model=status.model,
            stable=live.stable,
            canary=status.target,
            canary_weight=0.0 if mirror else turn.weight,
            mirror=mirror,
        )
    )


def _promoting(turn: Turn) -> None:
    status, live = turn.status, turn.seen.route
    if live is not None and live.stable.digest == status.candidate.digest:
        _promoted(turn)
        return
    if _champion_moved(turn):
        leave(turn, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    turn.ensure(PoolName.STABLE)
    if _loaded(turn, turn.seen.in_stable, PoolName.STABLE) and not turn.status.pauses:
        turn.route(Route(model=status.model, stable=status.target))


def _promoted(turn: Turn) -> None:
    """A pass after the route moved: no request is on its way to what is dropped here."""
    status, seen = turn.status, turn.seen
    turn.route(Route(model=status.model, stable=status.target))
    turn.alias("champion", status.candidate.key)
    turn.clear_alias("candidate")
    if status.champion is not None:
        turn.alias("previous", status.champion.key)
        turn.tag(status.champion.key, lifecycle=Lifecycle.ARCHIVED.value)
    turn.drop(PoolName.CANARY, status.candidate.digest)
    gone = list(seen.outdated)
    if status.champion is not None and not status.policy.keep_previous:
        gone.append(status.champion.digest)
    for digest in gone:
        turn.drop(PoolName.STABLE, digest)
    turn.finish(Phase.SUCCEEDED, "is champion")


def _champion_moved(turn: Turn) -> bool:
    """Whether somebody else changed who the champion is: this release must not undo that."""
    live, known = turn.seen.route, turn.status.champion
    return (live.stable.digest if live else None) != (known.digest if known else None)


def _loaded(turn: Turn, readiness, pool: PoolName) -> bool:
    """Whether every server of the pool holds the candidate; counts errors, pauses when it takes too long."""
    status = turn.status
    if readiness is not None and readiness.complete:
        return True
    faults = (*turn.seen.errors, *(readiness.errors if readiness is not None else ()))
    if faults:
        _error(turn, "; ".join(faults))
        return False
    turn.update(note=f"the {pool} pool loads it")
    if turn.now >= status.entered_at + status.policy.unsure_after:
        _pause(turn, Pause.NOT_LOADED)
    return False


def _error(turn: Turn, why: str) -> None:
    """Count one thing that could not be measured; too many in a row end the release."""
    last = turn.status.last_error_at
    if last is not None and turn.now - last < ERROR_SPACING:
        return
    count = turn.status.errors_in_a_row + 1
    turn.update(errors_in_a_row=count, last_error_at=turn.now, note=why)
    if count >= turn.status.policy.criteria.max_errors_in_a_row:
        leave(turn, Phase.ROLLED_BACK, f"could not be measured {count} times in a row: {why}")


def _pause(turn: Turn, reason: Pause) -> None:
    if reason not in turn.status.pauses:
        turn.update(pauses=turn.status.pauses | {reason}, note=f"paused: {reason.value}")
        turn.record("paused", why=reason.value)


RULES: dict[Phase, Callable[[Turn], None]] = {
    Phase.PENDING: _pending,
    Phase.GATED: _gated,
    Phase.AWAITING_APPROVAL: _awaiting,
    Phase.LOADING: _loading,
    Phase.SHADOW: _measured,
    Phase.CANARY: _measured,
    Phase.PROMOTING: _promoting,
    Phase.ABORTING: aborting,
}
