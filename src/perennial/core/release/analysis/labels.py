"""Judge a candidate by the labels of its answers: the share of right ones, and the mean loss where a kind has one."""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.release.analysis.harm_tests import (
    is_accuracy_drop_proven,
    is_loss_increase_proven,
    tolerated_drop,
    tolerated_factor,
)
from perennial.core.release.status import LabelCounts
from perennial.core.release_spec import CriteriaSpec
from perennial.core.verdict import Judgement, Verdict

IsWorse = Callable[[CriteriaSpec, LabelCounts, LabelCounts], bool]


def judge_labels(
    criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts
) -> tuple[Judgement, ...]:
    """Return the judgement of the accuracy, and of the loss where both versions have one."""
    needed = f"not proven more than {tolerated_drop(criteria):.2%} below the champion's"
    judged = [_judged("accuracy", criteria, candidate, champion, needed, _is_less_right, _share)]
    if candidate.has_loss and champion.has_loss:
        needed = f"not proven above {tolerated_factor(criteria):g} x the champion's"
        judged.append(_judged("loss", criteria, candidate, champion, needed, _is_farther_off, _loss))
    return tuple(judged)


def _judged(
    rule: str,
    criteria: CriteriaSpec,
    candidate: LabelCounts,
    champion: LabelCounts,
    needed: str,
    is_worse: IsWorse,
    shown: Callable[[LabelCounts], str],
) -> Judgement:
    if min(candidate.labels, champion.labels) < criteria.min_labels:
        labels = f"{candidate.labels} and {champion.labels} labels: not judged below {criteria.min_labels}"
        known = sorted({*candidate.sources, *champion.sources})
        labels += f" (by {', '.join(known)})" if known else ""
        return Judgement(rule=rule, verdict=Verdict.PASS, observed=labels, needed=needed)
    observed = f"{shown(candidate)}, champion {shown(champion)}"
    proven = is_worse(criteria, candidate, champion)
    alone = [
        source
        for source in sorted({*candidate.without, *champion.without})
        if proven and not is_worse(criteria, _without(candidate, source), _without(champion, source))
    ]
    if alone:
        # A person looks at it: a source that may not decide alone must not end a release.
        observed += f"; not without the labels of {', '.join(alone)}"
        return Judgement(rule=rule, verdict=Verdict.UNSURE, observed=observed, needed=needed)
    verdict = Verdict.FAIL if proven else Verdict.PASS
    return Judgement(rule=rule, verdict=verdict, observed=observed, needed=needed)


def _is_less_right(criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts) -> bool:
    proven = is_accuracy_drop_proven(
        criteria,
        candidate.requests - candidate.right,
        candidate.requests,
        champion.requests - champion.right,
        champion.requests,
    )
    return bool(proven)


def _is_farther_off(criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts) -> bool:
    sums = [(labels.loss, labels.squares, labels.requests) for labels in (candidate, champion)]
    return bool(is_loss_increase_proven(criteria, *sums))


def _loss(labels: LabelCounts) -> str:
    return f"mean error {labels.loss / labels.requests:.4g} ({labels.labels} labels in {labels.requests} requests)"


def _without(labels: LabelCounts, source: str) -> LabelCounts:
    return labels.without.get(source, labels)


def _share(labels: LabelCounts) -> str:
    by = ", ".join(f"{count} by {source}" for source, count in sorted(labels.sources.items()))
    right = labels.right / labels.requests
    return f"{right:.3f} right ({labels.labels} labels in {labels.requests} requests{by and ': ' + by})"
