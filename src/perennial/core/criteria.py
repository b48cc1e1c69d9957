"""Is a candidate that gets traffic good, bad or not yet known? The spec's criteria on what was counted.

Harm must be proven: each bound holds at all looks together (`perennial.core.statistics`), so that looking
every two seconds aborts no healthy candidate. What is not proven bad passes as soon as the candidate has
answered `min_requests`; small harm thus needs the longer, larger steps to show.
"""

from __future__ import annotations

from perennial.core.release import Labelled
from perennial.core.spec import CriteriaSpec
from perennial.core.statistics import difference_exceeds, exceeds
from perennial.core.traffic import Counters
from perennial.core.verdict import Judgement, Verdict

SLOW = 0.95
"""The latency quantile that is compared."""


def judge_traffic(
    criteria: CriteriaSpec,
    candidate: Counters,
    champion: Counters,
    candidate_labels: Labelled,
    champion_labels: Labelled,
) -> tuple[Judgement, ...]:
    """Apply every criterion to what was counted since the step began, for both sides."""
    return (
        _requests(criteria, candidate),
        _error_rate(criteria, candidate),
        _error_increase(criteria, candidate, champion),
        _latency(criteria, candidate, champion),
        _accuracy(criteria, candidate_labels, champion_labels),
    )


def unmeasured(why: str) -> Judgement:
    return Judgement(rule="measurement", verdict=Verdict.ERROR, observed=why, needed="a measurement")


def _requests(criteria: CriteriaSpec, candidate: Counters) -> Judgement:
    enough = candidate.requests >= criteria.min_requests
    return Judgement(
        rule="requests",
        verdict=Verdict.PASS if enough else Verdict.UNSURE,
        observed=f"{candidate.requests} to the candidate",
        needed=f">= {criteria.min_requests}",
    )


def _error_rate(criteria: CriteriaSpec, candidate: Counters) -> Judgement:
    bad = exceeds(_errors(candidate), candidate.requests, criteria.error_rate_max, criteria.confidence)
    return _judgement("error_rate", bad, _rate(candidate), f"not proven above {criteria.error_rate_max:.2%}")


def _error_increase(criteria: CriteriaSpec, candidate: Counters, champion: Counters) -> Judgement:
    bad = difference_exceeds(
        _errors(candidate),
        candidate.requests,
        _errors(champion),
        champion.requests,
        criteria.error_rate_increase,
        criteria.confidence,
    )
    return _judgement(
        "error_increase",
        bad,
        f"{_rate(candidate)}, champion {_rate(champion)}",
        f"not proven {criteria.error_rate_increase:.2%} above the champion's",
    )


def _latency(criteria: CriteriaSpec, candidate: Counters, champion: Counters) -> Judgement:
    """A p95 of few requests is noise. So the candidate's share of requests slower than the limit is what
    is tested: above 5 % proven means that its p95 is above the limit."""
    theirs, mine = champion.latency_ms(SLOW), candidate.latency_ms(SLOW)
    needed = f"p95 not proven above {criteria.latency_p95_ratio:g} x the champion's"
    if theirs is None or mine is None:
        return Judgement(
            rule="latency", verdict=Verdict.UNSURE, observed="no requests on one side", needed=needed
        )
    limit = max(criteria.latency_p95_ratio * theirs, criteria.latency_p95_floor_ms)
    slow, total = _slower(candidate, limit)
    return _judgement(
        "latency",
        exceeds(slow, total, 1.0 - SLOW, criteria.confidence),
        f"p95 {mine:.1f} ms, champion {theirs:.1f} ms, {slow} of {total} slower than {limit:.0f} ms",
        f"{needed} (or {criteria.latency_p95_floor_ms:g} ms)",
    )


def _slower(counters: Counters, limit_ms: float) -> tuple[int, int]:
    """Requests that were certainly slower than the limit, and all: a bucket that holds the limit may lie
    on its good side, so it counts as such."""
    total = counters.buckets[-1][1]
    within = next(count for bound, count in counters.buckets if bound >= limit_ms or count == total)
    return total - within, total


def _accuracy(criteria: CriteriaSpec, candidate: Labelled, champion: Labelled) -> Judgement:
    """By request, not by label: the answers of one request (tests of one CI cycle) are right or wrong
    together, so counting each as evidence of its own would abort on noise. A share of right answers lies
    in [0, 1], for which the bounds hold as they do for yes and no."""
    needed = f"not proven {criteria.accuracy_drop:.2%} below the champion's"
    if min(candidate.labels, champion.labels) < criteria.min_labels:
        seen = f"{candidate.labels} and {champion.labels} labels: not judged below {criteria.min_labels}"
        return Judgement(rule="accuracy", verdict=Verdict.PASS, observed=seen, needed=needed)
    bad = difference_exceeds(
        candidate.requests - candidate.right,
        candidate.requests,
        champion.requests - champion.right,
        champion.requests,
        criteria.accuracy_drop,
        criteria.confidence,
    )
    shown = f"{_share(candidate)}, champion {_share(champion)}"
    return _judgement("accuracy", bad, shown, needed)


def _share(known: Labelled) -> str:
    return f"{known.right / known.requests:.3f} right ({known.labels} labels in {known.requests} requests)"


def _judgement(rule: str, bad: bool, observed: str, needed: str) -> Judgement:
    verdict = Verdict.FAIL if bad else Verdict.PASS
    return Judgement(rule=rule, verdict=verdict, observed=observed, needed=needed)


def _rate(counters: Counters) -> str:
    return f"{counters.errors} of {counters.requests} failed"


def _errors(counters: Counters) -> int:
    """Two counters read one after the other may disagree by a request."""
    return min(counters.errors, counters.requests)
