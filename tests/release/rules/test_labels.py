"""Labels of a candidate: which selections of them prove nothing, and which harms they show nevertheless."""

from __future__ import annotations

import numpy as np
import pytest
from doubles.labelled import counts_of, drawn, evenly

from perennial import catalog
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.label_counts import LabelCounts, TruthCounts
from perennial.core.verdict import Judgement, Verdict

CRITERIA = catalog.spec("test_failure_predictor").release.criteria
HALF = (120_000, 120_000)
"""Requests of candidate and champion at half of the traffic."""


def judged(candidate: LabelCounts, champion: LabelCounts, rule: str = "accuracy") -> Judgement:
    return next(
        judgement for judgement in judge_labels(CRITERIA, candidate, champion) if judgement.rule == rule
    )


def both(seed: int, share: float, errors, worse, labelled) -> Judgement:
    """Judge a candidate with other errors than the champion's, as (missed, false alarms)."""
    random = np.random.default_rng(seed)
    mine = drawn(random, HALF[0], share, *worse, labelled)
    return judged(mine, drawn(random, HALF[1], share, *errors, labelled))


@pytest.mark.parametrize(
    ("share", "errors", "equal", "labelled"),
    [
        (0.1, (0.3, 0.05), (0.1, 0.05 + 0.2 / 9), (0.9, 0.3)),  # failing ones are labelled more often
        (0.1, (0.1, 0.07), (0.3, 0.07 - 0.2 / 9), (0.3, 0.9)),
        (0.1, (0.1, 0.05), (0.3, 0.05 - 0.2 / 9), (1.0, 0.0)),  # only those have come
        (0.5, (0.3, 0.1), (0.1, 0.3), (0.8, 0.2)),
    ],
)
def test_a_candidate_as_accurate_in_all_is_not_failed_by_the_labels_that_come(share, errors, equal, labelled):
    assert both(1, share, errors, equal, labelled).verdict is Verdict.PASS
    assert both(2, share, equal, errors, labelled).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("share", "errors", "worse", "labelled"),
    [
        (0.1, (0.2, 0.05), (0.2, 0.105), (0.9, 0.1)),  # five points of specificity, hidden by few labels
        (0.1, (0.2, 0.05), (0.7, 0.05), (0.1, 0.9)),  # five points of accuracy among the failing ones
        (0.5, (0.15, 0.15), (0.20, 0.20), (0.5, 0.5)),
        (0.5, (0.15, 0.15), (0.20, 0.20), (1.0, 1.0)),
    ],
)
def test_a_loss_of_accuracy_is_proven_though_few_labels_of_its_truth_come(share, errors, worse, labelled):
    found = both(3, share, errors, worse, labelled)
    assert found.verdict is Verdict.FAIL
    assert "within each truth +" in found.observed


def test_labels_that_come_by_the_answer_prove_nothing_and_it_is_said():
    random = np.random.default_rng(4)

    def labelled_by_answer(requests: int, missed: float, false: float) -> LabelCounts:
        truth = (random.random(requests) < 0.1).astype(int)
        wrong = random.random(requests) < np.where(truth, missed, false)
        answer = np.where(wrong, 1 - truth, truth)
        return counts_of(truth, answer, random.random(requests) < np.where(answer, 0.9, 0.3))

    found = judged(labelled_by_answer(60_000, 0.1, 0.061), labelled_by_answer(240_000, 0.2, 0.05))
    assert found.verdict is Verdict.PASS
    assert "not judged: whether a label comes depends on the answer, too" in found.observed


def test_answers_of_a_cycle_that_are_wrong_together_count_as_one():
    """Cycles of 50 requests are wrong together; so few of them prove nothing, as many requests as they have."""
    truth = np.tile([0, 1], 1500)
    cycle = np.arange(3000) // 50
    wrong = np.isin(cycle, [4, 9, 14, 19, 24, 29, 34, 39, 44, 49, 54, 59, 7, 22])
    healthy = np.isin(cycle, [5, 25, 45])
    known = np.ones(3000, dtype=bool)
    cycles = [
        counts_of(truth, np.where(off, 1 - truth, truth), known, group=cycle) for off in (wrong, healthy)
    ]
    assert judged(*cycles).verdict is Verdict.PASS
    spread = [evenly(3000 - off.sum(), 3000) for off in (wrong, healthy)]
    assert judged(*spread).verdict is Verdict.FAIL


def test_labels_in_fewer_than_ten_slices_prove_nothing():
    truth = np.tile([0, 1], 2000)
    known, slices = np.ones(4000, dtype=bool), np.arange(4000) * 9 // 4000
    wrong = counts_of(truth, 1 - truth, known, group=slices)
    right = counts_of(truth, truth, known, group=slices)
    assert judged(wrong, right).verdict is Verdict.PASS


def test_nothing_is_judged_before_it_is_known_how_late_labels_come():
    wrong, right = (evenly(share, 2000).model_copy(update={"maturity_hours": None}) for share in (0, 2000))
    found = judged(wrong, right)
    assert found.verdict is Verdict.PASS
    assert "not known yet how late they come" in found.observed


def test_the_judgement_says_how_old_a_request_must_be_and_what_missing_labels_leave_open():
    candidate = drawn(np.random.default_rng(5), 2000, 0.5, 0.1, 0.1, (0.5, 0.5))
    waiting = candidate.model_copy(update={"young": 30, "maturity_hours": 4.25})
    found = judged(waiting, candidate.model_copy(update={"young": 70}))
    assert "of requests older than 4.25 h; 30 and 70 younger requests wait" in found.observed
    assert "-49% to +49% whatever the missing labels say" in found.observed


@pytest.mark.parametrize("worst", [False, True])
def test_several_classes_are_compared_within_each(worst):
    """One class is labelled four times as often; the candidate gains there what it loses in another."""
    random = np.random.default_rng(6)

    def classes(requests: int, right: tuple[float, ...]) -> LabelCounts:
        truth = random.choice(3, size=requests, p=(0.25, 0.25, 0.5))
        kept = random.random(requests) < np.array(right)[truth]
        answer = np.where(kept, truth, (truth + random.integers(1, 3, requests)) % 3)
        known = random.random(requests) < np.array((0.2, 0.8, 0.5))[truth]
        return counts_of(truth, answer, known, names=("a", "b", "c"))

    candidate = (0.9, 0.7, 0.65) if worst else (0.9, 0.7, 0.8)
    found = judged(classes(150_000, candidate), classes(150_000, (0.7, 0.9, 0.8)))
    assert found.verdict is (Verdict.FAIL if worst else Verdict.PASS)


def losses(loss: np.ndarray, right: float = 0.8, **more) -> LabelCounts:
    """Return the counts of numbers with these errors, in random order, of three ranges of the truth."""
    count = len(loss)
    parts = {
        name: TruthCounts(
            requests=len(part), wrong=(1 - right) * len(part), answers={name: len(part)},
            losses=len(part), loss=float(part.sum()), squares=float((part**2).sum()),
            groups={"time": tuple(
                (len(some), (1 - right) * len(some), len(some), float(some.sum()))
                for some in np.array_split(part, 20)
            )},
        )
        for name, part in zip(("low", "middle", "high"), np.array_split(loss, 3), strict=True)
    }  # fmt: skip
    return LabelCounts(
        right=right * count, requests=count, labels=count, has_loss=True, loss=float(loss.sum()),
        squares=float((loss**2).sum()), truths=parts, answered=count, maturity_hours=1.0,
        answers={name: part.requests for name, part in parts.items()}, **more,
    )  # fmt: skip


def verdicts(candidate: LabelCounts, champion: LabelCounts) -> dict[str, Verdict]:
    return {one.rule: one.verdict for one in judge_labels(CRITERIA, candidate, champion)}


def test_errors_that_grow_far_abort_though_as_many_answers_are_right():
    random = np.random.default_rng(1)
    usual, worse = random.exponential(size=2000), 2 * random.exponential(size=2000)
    assert verdicts(losses(worse), losses(usual)) == {"accuracy": Verdict.PASS, "loss": Verdict.FAIL}
    assert verdicts(losses(usual), losses(worse)) == {"accuracy": Verdict.PASS, "loss": Verdict.PASS}


def test_a_source_that_may_not_decide_alone_makes_it_unsure():
    random = np.random.default_rng(1)
    usual, worse = random.exponential(size=2000), 2 * random.exponential(size=2000)
    blamed = losses(worse, without={"shop": losses(usual)})
    assert verdicts(blamed, losses(usual))["loss"] is Verdict.UNSURE


def test_a_kind_without_a_loss_is_judged_by_its_share_alone():
    counts = LabelCounts(right=80, requests=200, labels=200)
    assert list(verdicts(counts, counts)) == ["accuracy"]
