"""The loss of labelled numbers: a candidate whose errors grow is aborted, though as many answers count as right."""

from __future__ import annotations

import numpy as np

from perennial import catalog
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.status import LabelCounts
from perennial.core.verdict import Verdict

CRITERIA = catalog.spec("test_failure_predictor").release.criteria


def labels(loss: np.ndarray, right: float = 0.8, **more) -> LabelCounts:
    count = len(loss)
    return LabelCounts(
        right=right * count, requests=count, labels=count, has_loss=True, loss=float(loss.sum()),
        squares=float((loss**2).sum()), **more,
    )  # fmt: skip


def verdicts(candidate: LabelCounts, champion: LabelCounts) -> dict[str, Verdict]:
    return {one.rule: one.verdict for one in judge_labels(CRITERIA, candidate, champion)}


def test_errors_that_grow_far_abort_though_as_many_answers_are_right():
    random = np.random.default_rng(1)
    usual, worse = random.exponential(size=2000), 2 * random.exponential(size=2000)
    assert verdicts(labels(worse), labels(usual)) == {"accuracy": Verdict.PASS, "loss": Verdict.FAIL}
    assert verdicts(labels(usual), labels(worse)) == {"accuracy": Verdict.PASS, "loss": Verdict.PASS}


def test_a_source_that_may_not_decide_alone_makes_it_unsure():
    random = np.random.default_rng(1)
    usual, worse = random.exponential(size=2000), 2 * random.exponential(size=2000)
    blamed = labels(worse, without={"shop": labels(usual)})
    assert verdicts(blamed, labels(usual))["loss"] is Verdict.UNSURE


def test_a_kind_without_a_loss_is_judged_by_its_share_alone():
    counts = LabelCounts(right=80, requests=200, labels=200)
    assert list(verdicts(counts, counts)) == ["accuracy"]
