"""How late labels come, learnt from those that have come; and which requests are old enough to be judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.releases import MemoryFeedback

from perennial.core.monitoring.label_delay import LabelDelay, learn_delay
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Multiclass, Regression
from perennial.flows.monitoring.accuracy import accuracy
from perennial.flows.monitoring.label_delays import label_delay

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def learnt(hours: float, delays: np.ndarray, truth: np.ndarray) -> LabelDelay | None:
    """Learn from evenly spread requests of so many hours, whose labels have come or not."""
    ages = np.linspace(hours, 0, len(delays))
    come = delays <= ages
    return learn_delay(delays[come], ages[come], truth[come])


def test_the_labels_that_have_not_come_yet_are_reckoned_with():
    """Exponential delays of 1 h in the mean: 95 % come in 3 h. Within 8 h, the ones that came show less."""
    random = np.random.default_rng(1)
    delays = random.exponential(1.0, 20_000)
    found = learnt(8, delays, np.full(len(delays), "late"))
    ages = np.linspace(8, 0, len(delays))
    naive = np.quantile(delays[delays <= ages], 0.95)
    assert found is not None
    assert found.hours == pytest.approx(3.0, rel=0.06)
    assert naive < 2.75


def test_the_slowest_truth_says_how_old_a_request_must_be():
    truth = np.tile(["failing", "passing"], 500)
    found = learnt(24, np.where(truth == "failing", 0.2, 4.0), truth)
    assert found.by_truth == {"failing": pytest.approx(0.2), "passing": pytest.approx(4.0)}
    assert found.hours == pytest.approx(4.0)


@pytest.mark.parametrize("hours", [1.0, 5.0])
def test_it_is_not_known_while_later_labels_may_be_on_their_way(hours):
    truth = np.tile(["failing", "passing"], 500)
    delays = np.where(truth == "failing", 0.4, 4.0)
    if hours < 4:  # only failing ones came, soon: they are known, and passing ones have no label to judge by
        assert learnt(hours, delays, truth).by_truth == {"failing": pytest.approx(0.4)}
    else:
        assert learnt(hours, delays, truth) is None


class Log:
    def __init__(self, rows: list[dict]) -> None:
        self.frame = pd.DataFrame(rows)

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        return self.frame[self.frame["at"] >= since].reset_index(drop=True)


def row(number: int, hours_ago: float, **more) -> dict:
    return {
        "prediction_id": f"p{number}", "request_id": f"r{number}", "entity": "{}", "digest": "champion",
        "score": 0.9, "decision": 1, "shadow": False, "task": "", "unit": None, "context": "{}",
        "at": NOW - timedelta(hours=hours_ago), **more,
    }  # fmt: skip


def test_delays_are_read_from_the_log_and_the_times_of_the_labels():
    rows = [row(number, 12 - number / 100) for number in range(1000)]
    feedback = MemoryFeedback()
    for number, one in enumerate(rows):
        delay = timedelta(minutes=6 if number % 3 == 0 else 30)
        feedback.put({one["prediction_id"]: float(number % 3 == 0)}, one["at"] + delay, "ci")
    found = label_delay("m", Log(rows), feedback, NOW)
    assert found.by_truth == {"positive": pytest.approx(0.1), "negative": pytest.approx(0.5)}
    assert label_delay("m", Log(rows), MemoryFeedback(), NOW) is None


def test_young_requests_wait_and_old_ones_count_within_their_truth():
    rows = [
        *(row(number, 3, decision=number % 2) for number in range(40)),
        *(row(number, 0.5) for number in range(40, 50)),
    ]
    feedback = MemoryFeedback()
    labelled = {f"p{number}": float(number % 4 < 2) for number in range(0, 50, 2)}
    feedback.put(labelled, NOW - timedelta(minutes=10), "ci")
    policy, since = FeedbackSpec(sole_source="ci"), NOW - timedelta(hours=4)
    counts = accuracy(
        "m", since, feedback, Log(rows), policy, now=NOW, delay=LabelDelay(hours=1, by_truth={"positive": 1})
    )["champion"]
    assert (counts.labels, counts.young, counts.answered, counts.maturity_hours) == (20, 10, 40, 1)
    assert counts.answers == {"negative": 20, "positive": 20}
    assert {name: (truth.requests, truth.wrong) for name, truth in counts.truths.items()} == {
        "negative": (10, 0),
        "positive": (10, 10),
    }


def test_a_request_of_many_rows_counts_once_and_its_group_is_named():
    context = [f'{{"cycle": "c{number // 4}"}}' for number in range(8)]
    rows = [
        row(number, 3, request_id=f"r{number // 2}", context=context[number], decision=number % 2)
        for number in range(8)
    ]
    feedback = MemoryFeedback()
    feedback.put({f"p{number}": 1.0 for number in range(8)}, NOW, "ci")
    counts = accuracy(
        "m", NOW - timedelta(hours=4), feedback, Log(rows), FeedbackSpec(sole_source="ci", group="cycle")
    )["champion"]
    failing = counts.truths["positive"]
    assert (counts.answered, failing.requests, failing.wrong) == (4, 4, 2)
    assert sorted(bucket[:2] for bucket in failing.groups["cycle"] if bucket[0]) == [(2, 1), (2, 1)]
    assert set(failing.groups) == {"time", "cycle"}


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (Multiclass(classes=("a", "b", "c")), {"a", "b", "c"}),
        (Regression(unit="mg", tolerance=1.0), {"below 10", "10 to 20", "from 20"}),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_classes_and_ranges_of_numbers_are_truths(task, names):
    numbers = task.kind == "regression"
    rows = [
        row(
            number, 3, task=task.model_dump_json(), decision=-1 if numbers else number % 3, score=number / 1.0
        )
        for number in range(31)
    ]
    feedback = MemoryFeedback()
    feedback.put({f"p{number}": float(number if numbers else number % 3) for number in range(31)}, NOW, "ci")
    policy = FeedbackSpec(sole_source="ci")
    counts = accuracy("m", NOW - timedelta(hours=4), feedback, Log(rows), policy)["champion"]
    assert set(counts.truths) == names
    assert sum(truth.requests for truth in counts.truths.values()) == 31
    assert counts.right == 31
