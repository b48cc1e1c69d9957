"""Is a candidate that gets traffic good, bad or not yet known? The spec's criteria on what was counted.

The spec names the smallest harm that must not reach everybody. A test that aborts only when exactly that
much is proven never aborts a candidate that is exactly that bad, whatever the traffic. So there are two
sides: FAIL when more than half of the named harm is proven (`ABORT_AT`), and on the step that promotes PASS
only when the whole of it is excluded; between them UNSURE waits, then a person is asked. Every true value is
decided by one side, given time. Each bound holds at all looks together (`perennial.core.statistics`), so
that looking every two seconds aborts no healthy candidate.
"""

from __future__ import annotations

import math
from datetime import timedelta

from perennial.core.release.status import LabelCounts
from perennial.core.release.traffic import Counters
from perennial.core.spec import CriteriaSpec
from perennial.core.statistics import (
    difference_bounds,
    difference_exceeds,
    exceeds,
    growth_to_decide,
    one_side,
    tail_level,
)
from perennial.core.verdict import Judgement, MissingEvidence, Verdict

SLOW = 0.95
"""The latency quantile that is compared."""
ABORT_AT = 0.5
"""Part of the named harm that must be proven to abort. One half asks about as much evidence for aborting a
candidate of the named harm as for clearing one without any."""


def judge_traffic(
    criteria: CriteriaSpec,
    candidate: Counters,
    champion: Counters,
    candidate_labels: LabelCounts,
    champion_labels: LabelCounts,
    *,
    promotes: bool = False,
    elapsed: timedelta = timedelta(0),
) -> tuple[Judgement, ...]:
    """Apply every criterion to what was counted since the step began, for both sides.

    Args:
        promotes: after this step the candidate gets everything, so the named increase of errors must be
            excluded. Before, the step's weight bounds the harm, and what is not proven bad may go on.
        elapsed: since the step began; tells how long more requests would take.
    """
    return (
        _requests(criteria, candidate, elapsed),
        _error_rate(criteria, candidate),
        _error_increase(criteria, candidate, champion, promotes, elapsed),
        _latency(criteria, candidate, champion),
        _accuracy(criteria, candidate_labels, champion_labels),
    )


def slow_limit(criteria: CriteriaSpec, champion: Counters) -> float:
    """Milliseconds that at most 5 % of a good candidate's requests exceed; infinite where the champion has
    too few requests to bound its p95 from above."""
    level = tail_level(1.0 - SLOW, champion.buckets[-1][1], one_side(criteria.confidence))
    if level is None:
        return math.inf
    bound = champion.latency_ms(level)
    tolerated = 1.0 + ABORT_AT * (criteria.latency_p95_ratio - 1.0)
    return max(tolerated * bound, criteria.latency_p95_floor_ms)


def unmeasured(why: str) -> Judgement:
    return Judgement(rule="measurement", verdict=Verdict.ERROR, observed=why, needed="a measurement")


def _requests(criteria: CriteriaSpec, candidate: Counters, elapsed: timedelta) -> Judgement:
    missing = criteria.min_requests - candidate.requests
    more = _more(missing, candidate.requests, elapsed) if missing > 0 else None
    return Judgement(
        rule="requests",
        verdict=Verdict.PASS if more is None else Verdict.UNSURE,
        observed=_with_more(f"{candidate.requests} to the candidate", more),
        needed=f">= {criteria.min_requests}",
        more=more,
    )


def _error_rate(criteria: CriteriaSpec, candidate: Counters) -> Judgement:
    bad = exceeds(_errors(candidate), candidate.requests, criteria.error_rate_max, criteria.confidence)
    return _judgement("error_rate", bad, _rate(candidate), f"not proven above {criteria.error_rate_max:.2%}")


def _error_increase(
    criteria: CriteriaSpec, candidate: Counters, champion: Counters, promotes: bool, elapsed: timedelta
) -> Judgement:
    harmful = criteria.error_rate_increase
    tolerated = ABORT_AT * harmful
    seen = (_errors(candidate), candidate.requests, _errors(champion), champion.requests)
    low, high = difference_bounds(*seen, criteria.confidence)
    more, verdict = None, Verdict.PASS
    if low > tolerated:
        verdict = Verdict.FAIL
    elif promotes and high >= harmful:
        verdict = Verdict.UNSURE
        growth = growth_to_decide(*seen, tolerated, harmful, criteria.confidence)
        missing = None if growth is None else math.ceil((growth - 1.0) * candidate.requests)
        more = _more(missing, candidate.requests, elapsed)
    needed = f"not proven more than {tolerated:.2%} above the champion's"
    return Judgement(
        rule="error_increase",
        verdict=verdict,
        observed=_with_more(f"{_rate(candidate)}, champion {_rate(champion)}", more),
        needed=needed + (f", and {harmful:.2%} above it excluded" if promotes else ""),
        more=more,
    )


def _more(missing: int | None, counted: int, elapsed: timedelta) -> MissingEvidence:
    """What is missing, in requests and in hours at the pace of this step so far."""
    hours = elapsed / timedelta(hours=1)
    if missing is None or counted == 0 or hours == 0:
        return MissingEvidence(requests=missing, hours=None)
    return MissingEvidence(requests=missing, hours=round(missing / counted * hours, 2))


def _with_more(observed: str, more: MissingEvidence | None) -> str:
    return observed if more is None else f"{observed}; {more}"


def _latency(criteria: CriteriaSpec, candidate: Counters, champion: Counters) -> Judgement:
    """A p95 of few requests is noise. So the candidate's share of requests slower than the limit is what
    is tested: above 5 % proven means that its p95 is above the limit. The limit in its turn stands on an
    upper bound of the champion's p95, each bound with half of the error chance."""
    theirs, mine = champion.latency_ms(SLOW), candidate.latency_ms(SLOW)
    tolerated = 1.0 + ABORT_AT * (criteria.latency_p95_ratio - 1.0)
    needed = f"p95 not proven above {tolerated:g} x the champion's (or {criteria.latency_p95_floor_ms:g} ms)"
    if theirs is None or mine is None:
        return Judgement(
            rule="latency", verdict=Verdict.UNSURE, observed="no requests on one side", needed=needed
        )
    limit = slow_limit(criteria, champion)
    slow, total = _slower(candidate, limit)
    return _judgement(
        "latency",
        exceeds(slow, total, 1.0 - SLOW, one_side(criteria.confidence)),
        f"p95 {mine:.1f} ms, champion {theirs:.1f} ms, {slow} of {total} slower than {limit:.0f} ms",
        needed,
    )


def _slower(counters: Counters, limit_ms: float) -> tuple[int, int]:
    """Requests that were certainly slower than the limit, and all: a bucket that holds the limit may lie
    on its good side, so it counts as such."""
    total = counters.buckets[-1][1]
    within = next(count for bound, count in counters.buckets if bound >= limit_ms or count == total)
    return total - within, total


def _accuracy(criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts) -> Judgement:
    """By request, not by label: the answers of one request (tests of one CI cycle) are right or wrong
    together, so counting each as evidence of its own would abort on noise. A share of right answers lies
    in [0, 1], for which the bounds hold as they do for yes and no."""
    tolerated = ABORT_AT * criteria.accuracy_drop
    needed = f"not proven more than {tolerated:.2%} below the champion's"
    if min(candidate.labels, champion.labels) < criteria.min_labels:
        seen = f"{candidate.labels} and {champion.labels} labels: not judged below {criteria.min_labels}"
        known = sorted({*candidate.sources, *champion.sources})
        seen += f" (by {', '.join(known)})" if known else ""
        return Judgement(rule="accuracy", verdict=Verdict.PASS, observed=seen, needed=needed)
    shown = f"{_share(candidate)}, champion {_share(champion)}"
    bad = _worse(criteria, candidate, champion)
    alone = [
        source
        for source in sorted({*candidate.without, *champion.without})
        if bad and not _worse(criteria, _without(candidate, source), _without(champion, source))
    ]
    if alone:
        # A person looks at it: a source that may not decide alone must not end a release.
        return Judgement(
            rule="accuracy",
            verdict=Verdict.UNSURE,
            observed=f"{shown}; not without the labels of {', '.join(alone)}",
            needed=needed,
        )
    return _judgement("accuracy", bad, shown, needed)


def _worse(criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts) -> bool:
    """Whether the drop that is not tolerated is proven."""
    return difference_exceeds(
        candidate.requests - candidate.right,
        candidate.requests,
        champion.requests - champion.right,
        champion.requests,
        ABORT_AT * criteria.accuracy_drop,
        criteria.confidence,
    )


def _without(known: LabelCounts, source: str) -> LabelCounts:
    return known.without.get(source, known)


def _share(known: LabelCounts) -> str:
    by = ", ".join(f"{count} by {source}" for source, count in sorted(known.sources.items()))
    share = known.right / known.requests
    return f"{share:.3f} right ({known.labels} labels in {known.requests} requests{by and ': ' + by})"


def _judgement(rule: str, bad: bool, observed: str, needed: str) -> Judgement:
    verdict = Verdict.FAIL if bad else Verdict.PASS
    return Judgement(rule=rule, verdict=verdict, observed=observed, needed=needed)


def _rate(counters: Counters) -> str:
    return f"{counters.errors} of {counters.requests} failed"


def _errors(counters: Counters) -> int:
    """Two counters read one after the other may disagree by a request."""
    return min(counters.errors, counters.requests)
