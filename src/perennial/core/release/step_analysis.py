"""Analyse a step: count what both versions answered in it and apply the criteria of the spec."""

from __future__ import annotations

from functools import partial, reduce

from perennial.core.release.analysis.criteria import is_slow_at_router, judge_traffic, unmeasured
from perennial.core.release.analysis.over_machines import bounded, judge_over_machines
from perennial.core.release.analysis.sample_ratio import judge_split
from perennial.core.release.counted.user_buckets import together
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.phase import Phase
from perennial.core.release.plan import promotes
from perennial.core.release.traffic import Counters, PoolName
from perennial.core.release.transition import Transition
from perennial.core.verdict import Judgement


def analyse(transition: Transition) -> tuple[Judgement, ...]:
    """Judge the candidate by the step so far, and keep measurements and judgements in the status."""
    if (
        transition.status.entered_at == transition.now
    ):  # resumed in this pass: older measurements do not count
        unmeasured_step: dict[str, object] = {
            "accuracy": {}, "accuracy_at": None, "units": None, "like_requests": None,
        }  # fmt: skip
        transition.seen = transition.seen.model_copy(update=unmeasured_step)
    judgements = _judgements(transition)
    seen = transition.seen
    transition.update(
        evidence=judgements,
        accuracy=seen.accuracy,
        accuracy_at=seen.accuracy_at,
        label_delay=seen.label_delay,
        units=seen.units,
        like_requests=seen.like_requests,
    )
    return judgements


def step_counters(transition: Transition) -> tuple[Counters, Counters]:
    """Return what candidate and champion answered in this step, without requests that were at fault themselves.

    One of several serving machines counts for at most as much as all others. In a step that leaves the champion no
    requests, its answers before the step are the comparison.
    """
    _add_new_answers(transition)
    _add_answers_of_users(transition)
    status, nothing = transition.status, Counters()
    candidate, champion = (status.counted.get(pool, nothing) for pool in (PoolName.CANARY, PoolName.STABLE))
    if status.phase is Phase.SHADOW:  # a copy that failed as its original did is a bad request
        candidate = candidate.excused_as(champion)
    before = status.before if status.before is not None else champion
    reporting = {name for counters in transition.seen.counters.values() for name in counters.parts}
    return bounded(candidate.evidence(), before.evidence(), reporting)


def _judgements(transition: Transition) -> tuple[Judgement, ...]:
    status, seen = transition.status, transition.seen
    gaps = [unmeasured(why) for why in seen.errors]
    if seen.healthy.get(PoolName.CANARY) == 0:
        gaps.append(unmeasured("no healthy server in the canary pool"))
    if not seen.counters:
        return tuple(gaps or [unmeasured("nothing is counted")])
    if not status.baseline:  # nothing was counted when the step began: it begins now
        transition.update(baseline=dict(seen.counters))
    candidate_counters, champion_counters = step_counters(transition)
    champion, criteria = status.champion, status.policy.criteria
    if is_slow_at_router(criteria, candidate_counters, champion_counters):
        transition.update(suspected_slow=True)
    judge = partial(
        judge_traffic,
        criteria,
        candidate_labels=seen.accuracy.get(status.candidate.digest, LabelCounts()),
        champion_labels=seen.accuracy.get(champion.digest, LabelCounts()) if champion else LabelCounts(),
        like=seen.like_requests,
        promotes=status.following is None and promotes(status.policy),
        elapsed=transition.now - status.entered_at,
    )
    judgements = judge_over_machines(judge, candidate_counters, champion_counters)
    return (*gaps, *judgements, *_sample_ratio(transition))


def _sample_ratio(transition: Transition) -> tuple[Judgement, ...]:
    """Judge in an A/B test whether its users were assigned in the shares that were asked for."""
    status, units = transition.status, transition.seen.units
    step, champion = status.current, status.champion
    if step is None or step.mismatch is None or champion is None or units is None:
        return ()
    return (judge_split(units, champion.version, status.candidate.version, step.weight, step.mismatch),)


def _add_new_answers(transition: Transition) -> None:
    """Add what was answered since the last look; a second call in the same pass adds nothing.

    After a restart of the router, which the counters of any pool reveal, all that it has counted is new; what
    was counted before stays.
    """
    status, current, nothing = transition.status, transition.seen.counters, Counters()
    if not current:
        return
    before = status.baseline
    if any(counters.parts for counters in current.values()):
        looks = {pool: _by_machine(counters, before.get(pool, nothing)) for pool, counters in current.items()}
        new = {pool: added for pool, (added, _) in looks.items()}
        baseline = {pool: seen for pool, (_, seen) in looks.items()}
    else:
        if any(counters.restarted(before.get(pool, nothing)) for pool, counters in current.items()):
            before = {}
        new = {pool: counters.since(before.get(pool, nothing)) for pool, counters in current.items()}
        baseline = {pool: before.get(pool, nothing).plus(added) for pool, added in new.items()}
    transition.update(
        counted={pool: status.counted.get(pool, nothing).plus(added) for pool, added in new.items()},
        baseline=baseline,
    )


def _add_answers_of_users(transition: Transition) -> None:
    """Add what users were answered since the last look; what was read from another place is counted already."""
    status, seen = transition.status, transition.seen.user_buckets
    if seen is None or seen.after != status.users_read:
        return
    problems = (*status.users_problems, *(set(seen.problems) - set(status.users_problems)))
    transition.update(
        users=together(status.users, seen.counts), users_read=seen.read, users_problems=problems
    )


def _by_machine(counters: Counters, before: Counters) -> tuple[Counters, Counters]:
    """Return what the machines that answer have counted since the last look, and what the next look compares with.

    A machine that was not told apart yet, or whose counters fell, begins now: its counters outlive its router, so
    they are no new answers. What a machine has stored that does not answer is none, either.
    """
    new, seen = {}, dict(before.parts)
    for name, part in counters.parts.items():
        known = seen.get(name)
        if known is None or part.restarted(known):
            new[name], seen[name] = Counters(), part
        else:
            new[name] = part.since(known)
            seen[name] = known.plus(new[name])
    total = reduce(Counters.plus, new.values(), Counters())
    return (
        total.model_copy(update={"parts": new}),
        counters.model_copy(update={"parts": seen}),
    )
