"""SHADOW and CANARY: a candidate that gets traffic is judged, and goes on to the plan's next step. Pure."""

from __future__ import annotations

from perennial.core.release.abort import end_release
from perennial.core.release.criteria import judge_traffic, unmeasured
from perennial.core.release.error_budget import champion_moved, count_error, pause
from perennial.core.release.phase import Phase
from perennial.core.release.plan import ALL, Step, promotes
from perennial.core.release.sample_ratio import RULE, judge_split
from perennial.core.release.status import LabelCounts, Pause, ReleaseStatus
from perennial.core.release.traffic import Counters, PoolName, Route
from perennial.core.release.transition import Transition
from perennial.core.verdict import Judgement, Verdict, worst


def measured(transition: Transition) -> None:
    """One pass over a step."""
    if champion_moved(transition):
        end_release(transition, Phase.ROLLED_BACK, "the champion's traffic was moved by somebody else")
        return
    if (
        transition.status.entered_at == transition.now
    ):  # resumed in this pass: what was measured belongs to before
        transition.seen = transition.seen.model_copy(
            update={"accuracy": {}, "accuracy_at": None, "units": None}
        )
    judgements = _judgements(transition)
    seen = transition.seen
    transition.update(
        evidence=judgements, accuracy=seen.accuracy, accuracy_at=seen.accuracy_at, units=seen.units
    )
    verdict = worst(judgements)
    if verdict is Verdict.FAIL:
        bad = "; ".join(f"{one.rule}: {one.observed}" for one in judgements if one.verdict is verdict)
        end_release(transition, Phase.ROLLED_BACK, bad)
        return
    if verdict is Verdict.ERROR:
        count_error(transition, next(one.observed for one in judgements if one.verdict is verdict))
        if not transition.status.phase.is_measured():
            return
    elif transition.status.errors_in_a_row:
        transition.update(note="measured again")
    if any(one.rule == RULE and one.verdict is Verdict.UNSURE for one in judgements):
        pause(transition, Pause.SAMPLE_RATIO)
    step = _current(transition.status)
    if _is_over(transition, step, verdict):
        begin_next(transition)
    else:
        _share(transition, step)


def begin_next(transition: Transition) -> None:
    """Enter the step after this one, or the first; after the last one comes the end of the plan."""
    step = transition.status.following
    if step is None:
        _end(transition)
        return
    before = _counted(transition)[1] if step.takes_all else None
    mirrored = step.phase is Phase.SHADOW
    why = "gets copies of the requests" if mirrored else f"answers {step.weight:g} % of the requests"
    transition.enter(step.phase, why, step=step.number)
    transition.update(before=before)
    _share(transition, step)


def _end(transition: Transition) -> None:
    if promotes(transition.status.policy):
        transition.enter(Phase.PROMOTING, "passed every step")
        transition.ensure(PoolName.STABLE)
    else:
        end_release(
            transition,
            Phase.OBSERVED,
            "got copies of the requests for its time; nothing is proven against it",
        )


def _judgements(transition: Transition) -> tuple[Judgement, ...]:
    status, seen = transition.status, transition.seen
    faults = [unmeasured(why) for why in seen.errors]
    if seen.healthy.get(PoolName.CANARY) == 0:
        faults.append(unmeasured("no healthy server in the canary pool"))
    if not seen.counters:
        return tuple(faults or [unmeasured("nothing is counted")])
    if not status.baseline:  # nothing was counted when the step began: it begins now
        transition.update(baseline=dict(seen.counters))
    mine, theirs = _counted(transition)
    champion = status.champion
    judged = judge_traffic(
        status.policy.criteria,
        mine,
        theirs,
        seen.accuracy.get(status.candidate.digest, LabelCounts()),
        seen.accuracy.get(champion.digest, LabelCounts()) if champion else LabelCounts(),
        promotes=status.following is None and promotes(status.policy),
        elapsed=transition.now - status.entered_at,
    )
    return (*faults, *judged, *_split(transition))


def _split(transition: Transition) -> tuple[Judgement, ...]:
    """In an A/B test, whether its users got their sides."""
    status, units = transition.status, transition.seen.units
    step, champion = status.current, status.champion
    if step is None or step.mismatch is None or champion is None or units is None:
        return ()
    return (judge_split(units, champion.version, status.candidate.version, step.weight, step.mismatch),)


def _counted(transition: Transition) -> tuple[Counters, Counters]:
    """What candidate and champion answered in this step. In a step that leaves the champion nothing, what
    it answered before is what the candidate is compared with."""
    _count(transition)
    status, nothing = transition.status, Counters()
    mine, theirs = (status.counted.get(pool, nothing) for pool in (PoolName.CANARY, PoolName.STABLE))
    return mine, status.before if status.before is not None else theirs


def _count(transition: Transition) -> None:
    """Add what was answered since the last look. The second time in a pass there is nothing to add.

    After a restart of the router, which any pool's counters tell for all of them, everything it has counted is
    new; what was counted before stays.
    """
    status, now, nothing = transition.status, transition.seen.counters, Counters()
    if not now:
        return
    before = status.baseline
    if any(one.restarted(before.get(pool, nothing)) for pool, one in now.items()):
        before = {}
    fresh = {pool: one.since(before.get(pool, nothing)) for pool, one in now.items()}
    transition.update(
        counted={pool: status.counted.get(pool, nothing).plus(one) for pool, one in fresh.items()},
        baseline={pool: before.get(pool, nothing).plus(one) for pool, one in fresh.items()},
    )


def _is_over(transition: Transition, step: Step, verdict: Verdict) -> bool:
    """Whether the step's time is over, or its sample complete, and the evidence good."""
    status = transition.status
    end = status.entered_at + step.duration
    sampled = step.sample is not None and min(one.requests for one in _counted(transition)) >= step.sample
    if status.pauses or (transition.now < end and not sampled):
        return False
    if verdict is Verdict.PASS:
        return True
    if transition.now >= end + status.policy.unsure_after:
        pause(transition, Pause.UNSURE)
    return False


def _current(status: ReleaseStatus) -> Step:
    if status.current is None:
        raise AssertionError(f"release {status.release_id}: {status.phase} {status.step} is not in its plan")
    return status.current


def _share(transition: Transition, step: Step) -> None:
    """The route that the step asks for; only an approved digest gets one that names it."""
    status, live = transition.status, transition.seen.route
    if live is None or not status.approved:
        raise AssertionError(f"release {status.release_id}: a share without champion or approval")
    transition.route(
        Route(
            model=status.model,
            stable=live.stable,
            canary=status.target,
            canary_weight=step.weight,
            assignment=status.assignment if 0 < step.weight < ALL else None,
            mirror=step.phase is Phase.SHADOW,
            backup=live.backup,
        )
    )
