"""Judge a candidate that gets traffic by the spec's criteria: good, bad or not yet known.

FAIL: more than half of the harm that the spec names is proven. PASS on the step that promotes: the whole of
it is excluded. Between them UNSURE waits, then a person is asked. The tests themselves are in
`perennial.core.release.analysis.harm_tests`, and again by cluster in `perennial.core.release.analysis.clusters`:
what the requests prove and the clusters do not is UNSURE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cache

from perennial.core.release.analysis.clusters import (
    ByCluster,
    error_increase_by,
    growth_by,
    increase_words,
    is_error_rate_proven_by,
    is_latency_proven_by,
    rate_words,
    size_words,
)
from perennial.core.release.analysis.harm_tests import (
    SLOW,
    champion_latency_level,
    error_increase,
    is_error_rate_proven,
    is_latency_proven,
    latency_limit_ms,
    tolerated_increase,
    tolerated_ratio,
)
from perennial.core.release.analysis.labels import ALONE, judge_labels
from perennial.core.release.analysis.labels_of_steps import LabelSteps
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release.traffic import Counters, LikeRequests
from perennial.core.release_spec import CriteriaSpec
from perennial.core.statistics import growth_to_decide
from perennial.core.verdict import Judgement, MissingEvidence, Verdict

Clusters = Callable[[], Sequence[ByCluster]]
"""Function of the counts by cluster."""
ALIKE = 0.5
"""Part of the candidate's requests that must have like ones of the champion for the mix to excuse it."""


def judge_traffic(
    criteria: CriteriaSpec,
    candidate: Counters,
    champion: Counters,
    candidate_labels: LabelCounts,
    champion_labels: LabelCounts,
    *,
    clusters: Clusters,
    label_steps: LabelSteps = ALONE,
    like: LikeRequests | None = None,
    promotes: bool = False,
    elapsed: timedelta = timedelta(0),
) -> tuple[Judgement, ...]:
    """Apply every criterion to what both versions answered since the step began.

    Args:
        candidate_labels, champion_labels, label_steps: labels, those of earlier steps among them.
        clusters: returns the same counts by cluster; called only where the totals prove or exclude something.
        like: comparison of like requests; None: not measured yet. Only a latency that fails needs it.
        promotes: after this step the candidate gets everything, so the named increase of errors must be
            excluded. Before, the step's weight bounds the harm, and a candidate not proven bad may go on.
        elapsed: time since the step began; tells how long more requests would take.
    """
    by = cache(clusters)
    return (
        _requests(criteria, candidate, elapsed),
        _error_rate(criteria, candidate, by),
        _error_increase(criteria, candidate, champion, by, promotes, elapsed),
        _latency(criteria, candidate, champion, by, like),
        *judge_labels(criteria, candidate_labels, champion_labels, label_steps),
    )


def unmeasured(why: str) -> Judgement:
    """Return the ERROR judgement of a measurement that failed."""
    return Judgement(rule="measurement", verdict=Verdict.ERROR, observed=why, needed="a measurement")


def _requests(criteria: CriteriaSpec, candidate: Counters, elapsed: timedelta) -> Judgement:
    lacking = criteria.min_requests - candidate.requests
    missing = _missing_evidence(lacking, candidate.requests, elapsed) if lacking > 0 else None
    return Judgement(
        rule="requests",
        verdict=Verdict.PASS if missing is None else Verdict.UNSURE,
        observed=_with_missing(f"{candidate.requests} to the candidate", missing),
        needed=f">= {criteria.min_requests}",
        more=missing,
    )


def _error_rate(criteria: CriteriaSpec, candidate: Counters, by: Clusters) -> Judgement:
    """Judge the absolute limit. What the champion fails alike in the same time is not the candidate's."""
    verdict, observed = Verdict.PASS, _rate(candidate)
    if is_error_rate_proven(criteria, _errors(candidate), candidate.requests):
        open_by = [counts for counts in by() if not is_error_rate_proven_by(criteria, counts)]
        verdict = Verdict.UNSURE if open_by else Verdict.FAIL
        observed += "".join(f"; by {counts.kind}: {rate_words(criteria, counts)}" for counts in open_by)
    needed = f"not proven above {criteria.error_rate_max:.2%}"
    return Judgement(rule="error_rate", verdict=verdict, observed=observed, needed=needed)


def _error_increase(
    criteria: CriteriaSpec,
    candidate: Counters,
    champion: Counters,
    by: Clusters,
    promotes: bool,
    elapsed: timedelta,
) -> Judgement:
    tolerated, harmful = tolerated_increase(criteria), criteria.error_rate_increase
    counts = (_errors(candidate), candidate.requests, _errors(champion), champion.requests)
    proven, excluded = error_increase(criteria, *counts)
    missing, verdict, words = None, Verdict.PASS, ""
    if proven or promotes:
        each = [(kind, *error_increase_by(criteria, kind)) for kind in by()] if proven or excluded else []
        if proven and all(proven_by for _, proven_by, _ in each):
            verdict = Verdict.FAIL
        elif proven or not excluded or not all(excluded_by for _, _, excluded_by in each):
            verdict = Verdict.UNSURE
            open_by = [
                kind for kind, proven_by, excluded_by in each if not (proven_by if proven else excluded_by)
            ]
            words = "".join(f"; by {kind.kind}: {increase_words(criteria, kind)}" for kind in open_by)
            growth = growth_to_decide(*counts, tolerated, harmful, criteria.confidence)
            growths = (growth, *(growth_by(criteria, kind) for kind in open_by))
            lacking = None
            if all(factor is not None for factor in growths):
                most = max(factor for factor in growths if factor is not None)
                lacking = math.ceil((most - 1.0) * candidate.requests)
            missing = _missing_evidence(lacking, candidate.requests, elapsed)
    needed = f"not proven more than {tolerated:.2%} above the champion's"
    observed = f"{_rate(candidate)}, champion {_rate(champion)}{words}"
    return Judgement(
        rule="error_increase",
        verdict=verdict,
        observed=_with_missing(observed, missing),
        needed=needed + (f", and {harmful:.2%} above it excluded" if promotes else ""),
        more=missing,
    )


def _latency(
    criteria: CriteriaSpec, candidate: Counters, champion: Counters, by: Clusters, like: LikeRequests | None
) -> Judgement:
    floor, ratio = criteria.latency_p95_floor_ms, tolerated_ratio(criteria)
    needed = f"p95 not proven above {ratio:g} x the champion's (or {floor:g} ms)"
    champion_p95, p95 = champion.latency_ms(SLOW), candidate.latency_ms(SLOW)
    if champion_p95 is None or p95 is None:
        return Judgement(
            rule="latency", verdict=Verdict.UNSURE, observed="no requests on one side", needed=needed
        )
    slower, total, limit = _slow_requests(criteria, candidate, champion)
    verdict, observed = Verdict.PASS, f"p95 {p95:.1f} ms, champion {champion_p95:.1f} ms, "
    observed += f"{slower} of {total} slower than {limit:.0f} ms"
    if is_latency_proven(criteria, slower, total):
        verdict, words = _confirmed(like)
        observed += f"; {words}"
        open_by = [counts for counts in by() if not is_latency_proven_by(criteria, counts)]
        if verdict is Verdict.FAIL and open_by:
            verdict = Verdict.UNSURE
            observed += "".join(f"; not proven by {size_words(counts.by_spell())}" for counts in open_by)
    return Judgement(rule="latency", verdict=verdict, observed=observed, needed=needed)


def is_slow_at_router(criteria: CriteriaSpec, candidate: Counters, champion: Counters) -> bool:
    """Return whether the router's counters, whatever the requests were, prove a harmful latency."""
    if champion.latency_ms(SLOW) is None or candidate.latency_ms(SLOW) is None:
        return False
    slower, total, _ = _slow_requests(criteria, candidate, champion)
    return bool(is_latency_proven(criteria, slower, total))


def _slow_requests(criteria: CriteriaSpec, candidate: Counters, champion: Counters) -> tuple[int, int, float]:
    """Return the candidate's requests that were certainly above the limit, all of them, and the limit in ms."""
    level = champion_latency_level(criteria, champion.buckets[-1][1])
    bound = None if level is None else champion.latency_ms(level)
    limit = math.inf if bound is None else float(latency_limit_ms(criteria, bound))
    return (*_slower(candidate, limit), limit)


def _confirmed(like: LikeRequests | None) -> tuple[Verdict, str]:
    """Return the verdict on a candidate that is slow at the router, and its reason.

    The mix of requests excuses it only where the servers' log shows the slowness and explains it.
    """
    if like is None:
        return Verdict.UNSURE, "like requests are compared in the next pass"
    compared = f"{like.slower} of {like.compared} like requests are slow"
    if like.limit is not None:
        compared += f" (above {like.limit:.3g} x the champion's median for the same work)"
    if like.decided_by:
        return Verdict.UNSURE, f"{compared}; that depends on client {', '.join(like.decided_by)}"
    if like.slow_alike:
        return Verdict.FAIL, compared
    if not like.slow_in_log:
        return Verdict.UNSURE, f"the servers' own times of {like.requests} requests do not show it"
    if like.compared < ALIKE * like.requests:
        return Verdict.UNSURE, f"only {like.compared} of {like.requests} requests are like the champion's"
    if not like.fine_alike:
        return Verdict.UNSURE, f"{compared}: too few to tell"
    return Verdict.PASS, f"{compared}: it got more of the costly ones"


def _slower(counters: Counters, limit_ms: float) -> tuple[int, int]:
    """Return the requests that were certainly slower than the limit, and all requests.

    A bucket that holds the limit may lie on its good side, so it counts as fast.
    """
    total = counters.buckets[-1][1]
    within = next(count for bound, count in counters.buckets if bound >= limit_ms or count == total)
    return total - within, total


def _missing_evidence(requests: int | None, counted: int, elapsed: timedelta) -> MissingEvidence:
    """Return what is missing, in requests and in hours at the pace of this step so far."""
    hours = elapsed / timedelta(hours=1)
    if requests is None or counted == 0 or hours == 0:
        return MissingEvidence(requests=requests, hours=None)
    return MissingEvidence(requests=requests, hours=round(requests / counted * hours, 2))


def _with_missing(observed: str, missing: MissingEvidence | None) -> str:
    return observed if missing is None else f"{observed}; {missing}"


def _rate(counters: Counters) -> str:
    return f"{counters.errors} of {counters.requests} failed"


def _errors(counters: Counters) -> int:
    """Return at most as many errors as requests: the two counters are read one after the other."""
    return min(counters.errors, counters.requests)
