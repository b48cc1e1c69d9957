"""Labels of several steps of a release, judged together."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from doubles.labelled import counts_of, drawn

from perennial import catalog
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.analysis.labels_of_steps import LabelSteps, factors, parts_of_error, pooled
from perennial.core.release.analysis.simulated_labels import over_steps
from perennial.core.release.analysis.truth_shares import Answered
from perennial.core.release.analysis.within_truth import ErrorCounts
from perennial.core.release.label_counts import LabelCounts, TruthCounts
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step, plan
from perennial.core.verdict import Verdict

RELEASE = catalog.spec("test_failure_predictor").release
SHARES = ((0.05, 40_000), (0.2, 80_000), (0.5, 160_000))
"""Share of the candidate and requests of each step."""


def steps(
    seed: int, growing: tuple[float, ...], worse: tuple[float, ...] = (0.0, 0.0, 0.0), labelled=(0.5, 0.5)
):
    """Draw both versions in each step, with errors of both times a factor and the candidate's increased."""
    random = np.random.default_rng(seed)
    return [
        tuple(
            drawn(random, int(part * requests), 0.3, 0.1 * factor + more, 0.05 * factor + more, labelled)
            for part, more in ((share, off), (1 - share, 0.0))
        )
        for (share, requests), factor, off in zip(SHARES, growing, worse, strict=True)
    ]


def verdict(pairs) -> tuple[Verdict, str]:
    """Judge as a release does in its last step."""
    part = parts_of_error(plan(RELEASE, 1))[-1]
    judged = judge_labels(RELEASE.criteria, *pooled(pairs), LabelSteps(len(pairs) - 1, part, pairs[-1]))[0]
    return judged.verdict, judged.observed


@pytest.mark.parametrize("growing", [(1, 2, 4), (4, 2, 1), (1, 4, 1)])
def test_times_in_which_both_err_more_fail_nobody(growing):
    pairs = steps(1, growing)
    assert verdict(pairs)[0] is Verdict.PASS
    mine, theirs = pooled(pairs)
    rates = [sum(t.wrong for t in side.truths.values()) / side.requests for side in (mine, theirs)]
    assert rates[0] == pytest.approx(rates[1], abs=0.004)
    assert "with the labels of 2 earlier steps" in verdict(pairs)[1]


def test_steps_prove_together_what_none_proves_alone():
    pairs = steps(2, (1, 1, 1), (0.045, 0.045, 0.045), (0.9, 0.2))
    part = parts_of_error(plan(RELEASE, 1))[-1]
    assert verdict(pairs)[0] is Verdict.FAIL
    for pair in pairs:
        alone = judge_labels(RELEASE.criteria, *pair, LabelSteps(0, part))[0]
        assert alone.verdict is Verdict.PASS


def test_harm_that_begins_with_a_step_is_not_hidden_by_the_steps_before():
    pairs = [*steps(3, (1, 1, 1))[1:]] * 6 + [steps(3, (1, 1, 1), (0, 0, 0.06))[-1]]
    found, words = verdict(pairs)
    assert found is Verdict.FAIL
    assert "by the labels of this step alone" in words


def test_a_group_of_several_steps_is_one_cluster_and_slices_of_time_are_their_own():
    group = np.arange(400) % 8

    def part(slices: int) -> LabelCounts:
        truth = np.arange(400) % 2
        counts = counts_of(truth, truth, np.ones(400, dtype=bool), group=group)
        even = ((200.0 / slices, 0.0, 0.0, 0.0),) * slices
        truths = {
            name: each.model_copy(update={"groups": {"user": each.groups["time"], "time": even}})
            for name, each in counts.truths.items()
        }
        return counts.model_copy(update={"truths": truths})

    mine, _ = pooled([(part(20), part(20)), (part(10), part(10))])
    groups = mine.truths["negative"].groups
    assert len(groups["user"]) == 8
    assert sum(bucket[0] for bucket in groups["user"]) == mine.truths["negative"].requests == 400
    assert len(groups["time"]) == 30


def test_one_step_is_judged_as_it_is():
    only = steps(4, (1, 1, 1))[0]
    assert pooled([only]) == only
    assert pooled([(LabelCounts(), LabelCounts()), only]) == only


def test_late_labels_are_judged_in_a_step_without_the_champion():
    *_, half = steps(5, (1, 1, 1), (0, 0, 0.07))
    nobody = (half[0].model_copy(update={"answered": 500.0}), LabelCounts(young=7))
    mine, theirs = pooled([half, nobody])
    assert (mine.truths, theirs.truths) == (half[0].truths, half[1].truths)
    assert theirs.young == 7


def test_each_step_weighs_the_same_for_both_and_this_one_counts_in_full():
    mine, theirs = np.array([100.0, 0.0, 500.0, 300.0]), np.array([1900.0, 50.0, 500.0, 700.0])
    ours, others = factors(mine, theirs)
    assert (ours[-1], others[-1]) == (1.0, 1.0)
    assert (ours[1], others[1]) == (0.0, 0.0)
    known = [0, 2, 3]
    assert (ours * mine)[known] / (others * theirs)[known] == pytest.approx([3 / 7] * 3)
    assert max(ours.max(), others.max()) <= 1.0


def test_the_error_chance_is_spent_once_over_the_plan():
    parts = parts_of_error(plan(RELEASE, 1))
    assert sum(parts) == pytest.approx(1.0)
    assert parts[-1] == max(parts)
    assert min(parts) >= 0.5 / len(parts)
    held = Step(phase=Phase.CANARY, weight=100.0, duration=timedelta(hours=1))
    assert parts_of_error((held,)) == (1.0,)


def test_arrays_are_added_by_the_same_rule():
    pairs = steps(6, (1, 2, 3))
    names = ("negative", "positive")

    def arrays(side: LabelCounts):
        truths = [side.truths.get(name, TruthCounts()) for name in names]
        labelled = np.array([truth.requests for truth in truths])
        cells = np.array([[truth.answers.get(name, 0.0) for name in names] for truth in truths])
        answers = np.array([side.answers[name] for name in names])
        return ErrorCounts(np.array([t.wrong for t in truths]), labelled), Answered(
            labelled, cells, answers, np.array(side.answered)
        )

    for (errors, answered), counts in zip(
        over_steps([(arrays(mine), arrays(theirs)) for mine, theirs in pairs]), pooled(pairs), strict=True
    ):
        expected = arrays(counts)
        assert errors.wrong == pytest.approx(expected[0].wrong)
        assert answered.cells == pytest.approx(expected[1].cells)
        assert answered.answers == pytest.approx(expected[1].answers)
        assert answered.answered == pytest.approx(expected[1].answered)
