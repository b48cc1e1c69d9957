"""Analyse a step: count what both versions answered in it and apply the criteria of the spec."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial, reduce

import numpy as np
from numpy.typing import NDArray

from perennial.core.release.analysis.clusters import ByCluster, ClusterKind, arm
from perennial.core.release.analysis.criteria import is_slow_at_router, judge_traffic, unmeasured
from perennial.core.release.analysis.labels_of_steps import LabelSteps, Pair, parts_of_error, pooled
from perennial.core.release.analysis.over_machines import Clusters, bounded, judge_over_machines
from perennial.core.release.analysis.sample_ratio import judge_split
from perennial.core.release.counted.slices import spell_length, with_answers
from perennial.core.release.counted.user_buckets import OF_USERS, together
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.phase import Phase
from perennial.core.release.plan import promotes
from perennial.core.release.status import ReleaseStatus
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
        labelled_steps=seen.labelled_steps,
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
    status = transition.status
    candidate, champion = _sides(status, status.counted)
    before = status.before if status.before is not None else champion
    return bounded(candidate.evidence(), before.evidence(), _reporting(transition))


def _sides(status: ReleaseStatus, counted: Mapping[str, Counters]) -> tuple[Counters, Counters]:
    candidate, champion = (counted.get(pool, Counters()) for pool in (PoolName.CANARY, PoolName.STABLE))
    if status.phase is Phase.SHADOW:  # a copy that failed as its original did is a bad request
        candidate = candidate.excused_as(champion)
    return candidate, champion


def _reporting(transition: Transition) -> set[str]:
    """Return the machines that answer."""
    return {name for counters in transition.seen.counters.values() for name in counters.parts}


def _by_cluster(transition: Transition) -> Clusters:
    """Return the function of the counts by cluster, of all machines or without one of them.

    They are asked for only where the totals prove or exclude something.
    """
    status, nothing = transition.status, Counters()
    reporting = _reporting(transition)

    @cache
    def pairs() -> tuple[list[Counters], list[Counters]]:
        candidate, champion = [], []
        for part in status.slices:
            mine, theirs = _sides(status, part.counted)
            mine, theirs = bounded(mine.evidence(), theirs.evidence(), reporting)
            candidate.append(mine)
            champion.append(theirs)
        if status.before is not None:
            earlier = [part.counted.get(PoolName.STABLE, nothing).evidence() for part in status.slices_before]
            champion = [bounded(nothing, counters, reporting)[1] for counters in earlier] or [status.before]
        return candidate, champion

    @cache
    def counts(without: str | None) -> tuple[ByCluster, ...]:
        candidate, champion = (
            [side if without is None else side.without(without) for side in sides] for sides in pairs()
        )
        by_time = ByCluster(
            ClusterKind.TIME, arm(candidate), arm(champion), status.before is None, _spells(status)
        )
        by_users = _by_users(status, without)
        return (by_time,) if by_users is None else (by_time, by_users)

    return counts


def _spells(status: ReleaseStatus) -> NDArray[np.int64]:
    """Return the number of the first slice of each spell."""
    step = status.current
    if step is None:
        return np.arange(len(status.slices))
    length = spell_length(step.duration)
    numbers = [(part.began - status.entered_at) // length for part in status.slices]
    return np.unique(numbers, return_index=True)[1]


def _by_users(status: ReleaseStatus, without: str | None) -> ByCluster | None:
    """Return the counts by bucket of users; None where most requests of a version are of no known user."""
    sides: list[list[Counters]] = []
    for pool in (PoolName.CANARY, PoolName.STABLE):
        buckets = [
            counters if without is None else counters.without(without)
            for counters in status.users.get(pool, {}).values()
        ]
        answered = status.counted.get(pool, Counters()).evidence().requests
        if sum(counters.requests for counters in buckets) < OF_USERS * answered or not answered:
            return None
        sides.append(buckets)
    return ByCluster(ClusterKind.USERS, arm(sides[0]), arm(sides[1]), paired=False)


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
    criteria = status.policy.criteria
    if is_slow_at_router(criteria, candidate_counters, champion_counters):
        transition.update(suspected_slow=True)
    candidate_labels, champion_labels, label_steps = _labels(transition)
    judge = partial(
        judge_traffic,
        criteria,
        candidate_labels=candidate_labels,
        champion_labels=champion_labels,
        label_steps=label_steps,
        like=seen.like_requests,
        promotes=status.following is None and promotes(status.policy),
        elapsed=transition.now - status.entered_at,
    )
    counts = _by_cluster(transition)
    judgements = judge_over_machines(judge, candidate_counters, champion_counters, counts)
    return (*gaps, *judgements, *_sample_ratio(transition))


def _labels(transition: Transition) -> tuple[LabelCounts, LabelCounts, LabelSteps]:
    """Return the labels of candidate and champion in all steps so far."""
    status, seen = transition.status, transition.seen

    def both(labels: Mapping[str, LabelCounts]) -> Pair:
        champion = status.champion
        return (
            labels.get(status.candidate.digest, LabelCounts()),
            labels.get(champion.digest, LabelCounts()) if champion else LabelCounts(),
        )

    steps = [both(step.labels) for step in seen.labelled_steps]
    earlier = sum(all(side.answered for side in step) for step in steps)
    parts = dict(zip(status.plan, parts_of_error(status.plan), strict=True))
    part = 1.0 if status.current is None else parts[status.current]
    own = both(seen.accuracy)
    return (*pooled([*steps, own]), LabelSteps(earlier, part, own if earlier else None))


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
    if status.current is not None:
        step = status.current.duration
        slices = with_answers(status.slices, new, transition.now, status.entered_at, step)
        transition.update(slices=slices)


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
