"""Askers of which no label comes: nothing that their requests were answered decides about a version."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.labelled import counts_of, drawn

from perennial import catalog
from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.analysis.unlabelled import askers_without_labels
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release_spec import FeedbackSpec
from perennial.core.verdict import Judgement, Verdict
from perennial.flows.monitoring.accuracy import accuracy

BEGIN = pd.Timestamp("2026-03-02T08:00Z")
CRITERIA = catalog.spec("test_failure_predictor").release.criteria
TESTS = 300
ANSWERED, CHECKS, FAILING = 8000, 12_000, 0.2
ERRORS = {"champion": (0.05, 0.55), "candidate": (0.95, 0.02)}
"""Missed failures and false alarms: the candidate is right in 79 %, the champion in 55 %."""
CALLED_FAILING = {"champion": 0.9, "candidate": 0.05}
"""Of the unlabelled requests: as if more than half of all requests were failures, which the candidate misses."""


class Requests:
    """A log: cycles of tests whose labels come, and a check that asks for one thing, by which none comes."""

    def __init__(self, seed: int, check: dict[str, str], *, mirrored: bool = False) -> None:
        random = np.random.default_rng(seed)
        failing = random.random(ANSWERED) < FAILING
        self.labels = {f"p{number}": float(failed) for number, failed in enumerate(failing)}
        rows = []
        for number in range(ANSWERED + CHECKS):
            labelled = number < ANSWERED
            digest = "champion" if mirrored or random.random() < 0.5 else "candidate"
            shown = [(digest, "p", False), *([("candidate", "m", True)] if mirrored else [])]
            entity = json.dumps({"test": int(random.integers(TESTS))})
            of = {"entity": entity, "unit": f"u{number % 50}", "client": "ci"}
            of |= {} if labelled else check
            for version, prefix, shadow in shown:
                missed, false = ERRORS[version]
                wrong = random.random() < (missed if labelled and failing[number] else false)
                seen = failing[number] != wrong if labelled else random.random() < CALLED_FAILING[version]
                decision = int(seen)
                rows.append(
                    {
                        "prediction_id": f"{prefix}{number}", "request_id": f"q{number}", "digest": version, "task": "",
                        "score": float(decision), "decision": decision, "shadow": shadow,
                        "at": BEGIN + timedelta(seconds=int(random.integers(3600))), **of,
                    }
                )  # fmt: skip
        self.rows = pd.DataFrame(rows)

    def read(self, model: str, since=None) -> pd.DataFrame:
        return self.rows

    def counts(self) -> dict[str, LabelCounts]:
        labels, policy = _Labels({"ci": self.labels}), FeedbackSpec(sole_source="ci")
        now, delay = BEGIN + timedelta(hours=2), LabelDelay(hours=0.0)
        return accuracy("m", BEGIN, labels, self, policy, now=now, delay=delay)


class _Labels:
    def __init__(self, labels: dict[str, dict[str, float]]) -> None:
        self._labels = labels

    def labels(self, since=None) -> dict[str, dict[str, float]]:
        return self._labels


def judged(candidate: LabelCounts, champion: LabelCounts) -> Judgement:
    return judge_labels(CRITERIA, candidate, champion)[0]


@pytest.mark.parametrize(
    "check",
    [{"entity": '{"test": 7}'}, {"unit": "probe"}, {"client": "probe"}, {"entity": "{}"}],
    ids=["one entity", "one user", "one client", "no entity"],
)
def test_a_better_candidate_is_not_ended_by_what_a_check_asks(check):
    counts = Requests(1, check).counts()
    candidate, champion = counts["candidate"], counts["champion"]
    found = judged(candidate, champion)
    assert found.verdict is Verdict.PASS, found.observed
    assert candidate.unlabelled + champion.unlabelled >= CHECKS
    assert candidate.answered + champion.answered >= 0.95 * ANSWERED
    words = f"without {candidate.unlabelled} and {champion.unlabelled} requests of entities, users or clients"
    assert words in found.observed


def test_a_worse_candidate_is_found_beside_a_check():
    counts = Requests(2, {"client": "probe"}).counts()
    assert judged(counts["champion"], counts["candidate"]).verdict is Verdict.FAIL


def test_mirrored_copies_of_a_check_are_left_out_with_their_originals():
    counts = Requests(3, {"client": "probe"}, mirrored=True).counts()
    assert counts["candidate"].answered == counts["champion"].answered == ANSWERED
    assert judged(counts["candidate"], counts["champion"]).verdict is Verdict.PASS


@pytest.mark.parametrize("labelled", [(0.9, 0.3), (0.9, 0.02), (0.1, 0.9)])
def test_nobody_is_left_out_whose_labels_only_come_by_their_truth(labelled):
    """Also not an entity that always passes, though few labels of it come."""
    random = np.random.default_rng(4)
    share_failing = np.concatenate([[0.0, 1.0], random.beta(0.5, 4.0, 38)])
    asked = random.integers(50, 20_000, len(share_failing)).astype(float)
    failing = np.floor(asked * share_failing)
    by_truth = np.stack([failing, asked - failing], axis=-1)
    known = random.binomial(by_truth.astype(int), labelled).astype(float)
    assert not askers_without_labels(asked, known).any()


def test_askers_are_left_out_one_after_the_other_and_never_all():
    asked = np.array([90_000.0, 5_000.0, 1_000.0, 1_000.0])
    known = np.array([[0.0, 0.0], [0.0, 10.0], [500.0, 500.0], [400.0, 600.0]])
    assert askers_without_labels(asked, known).tolist() == [True, True, False, False]
    assert not askers_without_labels(asked, np.zeros((4, 2))).any()
    assert not askers_without_labels(np.array([]), np.zeros((0, 0))).any()
    assert not askers_without_labels(np.array([10_000.0]), np.array([[1.0, 0.0]])).any()


def test_a_person_decides_where_only_the_correction_for_missing_labels_says_worse():
    """The unlabelled requests are of many entities, so that nobody tells them from the others."""
    random = np.random.default_rng(5)

    def with_unlabelled(version: str) -> LabelCounts:
        labelled = drawn(random, ANSWERED // 2, FAILING, *ERRORS[version])
        answer = (random.random(CHECKS // 2) < CALLED_FAILING[version]).astype(int)
        others = counts_of(answer, answer, np.zeros(len(answer), dtype=bool))
        return labelled.model_copy(
            update={
                "answered": labelled.answered + others.answered,
                "answers": {name: labelled.answers[name] + others.answers[name] for name in labelled.answers},
            }
        )

    found = judged(with_unlabelled("candidate"), with_unlabelled("champion"))
    assert found.verdict is Verdict.UNSURE
    assert "by the labels as they came it is proven better" in found.observed
