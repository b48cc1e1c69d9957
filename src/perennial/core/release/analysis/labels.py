"""Judge a candidate by the labels of its answers: the share of right ones, and the mean loss where a kind has one.

Only requests that are old enough to have a label count (`core.monitoring.label_delay`), and the versions are compared
within each truth (`within_truth`): neither early labels nor a selection of them decide. Labels of earlier steps of the
release are among them (`labels_of_steps`). Where the labels as they came prove the contrary, a person decides.
"""

from __future__ import annotations

from collections.abc import Callable

from perennial.core.release.analysis.harm_tests import tolerated_drop, tolerated_factor
from perennial.core.release.analysis.labels_as_they_came import less_loss, more_right
from perennial.core.release.analysis.labels_of_steps import LabelSteps
from perennial.core.release.analysis.within_truth import Difference, increase_of_errors, increase_of_loss
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release_spec import CriteriaSpec
from perennial.core.verdict import Judgement, Verdict

Compare = Callable[[LabelCounts, LabelCounts], Difference]
ALONE = LabelSteps()


def judge_labels(
    criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts, steps: LabelSteps = ALONE
) -> tuple[Judgement, ...]:
    """Return the judgement of the accuracy, and of the loss where both versions have one.

    Args:
        candidate, champion: of all steps so far (`labels_of_steps.pooled`).
    """
    confidence = steps.confidence(criteria.confidence)
    needed = f"not proven more than {tolerated_drop(criteria):.2%} below the champion's"
    judged = [
        _judged(
            "accuracy", criteria, candidate, champion, steps, needed, tolerated_drop(criteria),
            lambda mine, theirs: increase_of_errors(mine, theirs, confidence),
            lambda mine, theirs: more_right(mine, theirs, confidence), _shares_right,
        )
    ]  # fmt: skip
    if candidate.has_loss and champion.has_loss:
        factor = tolerated_factor(criteria)
        needed = f"not proven above {factor:g} x the champion's"
        judged.append(
            _judged(
                "loss", criteria, candidate, champion, steps, needed, 0.0,
                lambda mine, theirs: increase_of_loss(mine, theirs, factor, confidence),
                lambda mine, theirs: less_loss(mine, theirs, confidence), _losses,
            )
        )  # fmt: skip
    return tuple(judged)


def _judged(
    rule: str,
    criteria: CriteriaSpec,
    candidate: LabelCounts,
    champion: LabelCounts,
    steps: LabelSteps,
    needed: str,
    limit: float,
    compare: Compare,
    better: Callable[[LabelCounts, LabelCounts], bool],
    shown: Callable[[LabelCounts, LabelCounts, Difference], str],
) -> Judgement:
    few = _too_few(criteria, candidate, champion)
    if few:
        return Judgement(rule=rule, verdict=Verdict.PASS, observed=few, needed=needed)
    difference, words = compare(candidate, champion), _earlier(steps)
    if steps.own is not None and not _too_few(criteria, *steps.own):
        # Harm that this step alone proves is in fewer labels; where these contradict themselves nothing is judged.
        alone = compare(*steps.own)
        is_newer = difference.contradicts or (alone.exceeds(limit) and not difference.exceeds(limit))
        if alone.contradicts or is_newer:
            (candidate, champion), difference, words = steps.own, alone, "; by the labels of this step alone"
    observed = shown(candidate, champion, difference) + words + _waiting(candidate, champion)
    if difference.contradicts:
        # As with too few labels: nothing is proven, and nothing that a person could decide by.
        observed += "; not judged: whether a label comes depends on the answer, too, or on the hour"
        return Judgement(rule=rule, verdict=Verdict.PASS, observed=observed, needed=needed)
    proven = difference.exceeds(limit)
    sources = sorted({*candidate.without, *champion.without})
    needing = [
        source
        for source in sources
        if proven and not compare(_without(candidate, source), _without(champion, source)).exceeds(limit)
    ]
    if needing:
        # A person looks at it: a source that may not decide alone must not end a release.
        observed += f"; not without the labels of {', '.join(needing)}"
        return Judgement(rule=rule, verdict=Verdict.UNSURE, observed=observed, needed=needed)
    if proven and better(candidate, champion):
        # Worse only by what was made up for missing labels, which rests on an assumption: no release ends by it alone.
        observed += "; by the labels as they came it is proven better"
        return Judgement(rule=rule, verdict=Verdict.UNSURE, observed=observed, needed=needed)
    verdict = Verdict.FAIL if proven else Verdict.PASS
    return Judgement(rule=rule, verdict=verdict, observed=observed, needed=needed)


def _too_few(criteria: CriteriaSpec, candidate: LabelCounts, champion: LabelCounts) -> str:
    """Return why the labels are not judged; empty where they are."""
    if any(side.labels and side.maturity_hours is None for side in (candidate, champion)):
        return f"{candidate.labels} and {champion.labels} labels: not judged, it is not known yet how late they come"
    if min(candidate.labels, champion.labels) >= criteria.min_labels:
        return ""
    few = f"{candidate.labels} and {champion.labels} labels: not judged below {criteria.min_labels}"
    known = sorted({*candidate.sources, *champion.sources})
    return few + (f" (by {', '.join(known)})" if known else "") + _waiting(candidate, champion)


def _earlier(steps: LabelSteps) -> str:
    """Return in words that labels of earlier steps count."""
    if not steps.earlier:
        return ""
    many = "step" if steps.earlier == 1 else "steps"
    return f"; with the labels of {steps.earlier} earlier {many}, in the shares of this one"


def _waiting(candidate: LabelCounts, champion: LabelCounts) -> str:
    """Return in words which requests of both versions do not count: too young ones, and those never labelled."""
    never = ""
    if candidate.unlabelled or champion.unlabelled:
        never = (
            f"; without {candidate.unlabelled} and {champion.unlabelled} requests of entities, users or clients of "
            "which hardly a label comes"
        )
    if candidate.maturity_hours is None:
        return never
    young = f"; {candidate.young} and {champion.young} younger requests wait" if candidate.young else ""
    return f"{never}; of requests older than {_span(candidate.maturity_hours)}{young}"


def _shares_right(candidate: LabelCounts, champion: LabelCounts, difference: Difference) -> str:
    return (
        f"{_share(candidate)}, champion {_share(champion)}"
        + (
            ""
            if difference.contradicts
            else f"; within each truth {difference.low:+.1%} to {difference.high:+.1%} more are wrong"
        )
        + f", {_whatever(candidate, champion)} whatever the missing labels say"
    )


def _losses(candidate: LabelCounts, champion: LabelCounts, difference: Difference) -> str:
    return f"{_loss(candidate)}, champion {_loss(champion)}"


def _whatever(candidate: LabelCounts, champion: LabelCounts) -> str:
    """Return the smallest and largest increase of the wrong answers that the missing labels leave open."""
    lowest, highest = _range(candidate), _range(champion)
    return f"{lowest[0] - highest[1]:+.0%} to {lowest[1] - highest[0]:+.0%}"


def _range(labels: LabelCounts) -> tuple[float, float]:
    """Return the least and the largest share of wrong answers, whatever the missing labels are."""
    known = sum(truth.requests for truth in labels.truths.values())
    wrong = sum(truth.wrong for truth in labels.truths.values())
    answered = max(labels.answered, known, 1e-12)
    return wrong / answered, (wrong + answered - known) / answered


def _loss(labels: LabelCounts) -> str:
    return f"mean error {labels.loss / labels.requests:.4g} ({labels.labels} labels in {labels.requests} requests)"


def _without(labels: LabelCounts, source: str) -> LabelCounts:
    """Return the counts without the labels of a source."""
    return labels.without.get(source, labels)


def _share(labels: LabelCounts) -> str:
    by = ", ".join(f"{count} by {source}" for source, count in sorted(labels.sources.items()))
    right = labels.right / labels.requests
    return f"{right:.3f} right ({labels.labels} labels in {labels.requests} requests{by and ': ' + by})"


def _span(hours: float) -> str:
    return f"{hours:.3g} h" if hours >= 1 else f"{hours * 60:.2g} min"
