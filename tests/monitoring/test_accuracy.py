"""What SHADOW learns of accuracy: a mirrored row is judged by the label of the very row that was answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd

from perennial.core.release.label_counts import LabelCounts
from perennial.core.release_spec import FeedbackSpec
from perennial.flows.monitoring.accuracy import accuracy

BEGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)
NO_ENTITY = "{}"


class Log:
    def __init__(self) -> None:
        self.rows: list[dict] = []

    def answer(self, request: str, digest: str, decisions: dict[str, int], *, shadow=False, entity=NO_ENTITY):
        """`decisions` by prediction id, in the order of the request's rows."""
        for name, decision in decisions.items():
            self.rows.append(
                {
                    "prediction_id": name,
                    "request_id": request,
                    "entity": entity,
                    "digest": digest,
                    "score": float(decision),
                    "decision": decision,
                    "task": "",
                    "shadow": shadow,
                    "at": BEGIN,
                }
            )

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


class Labels:
    def __init__(self, labels: dict[str, float]) -> None:
        self._labels = labels

    def labels(self, since: datetime | None = None) -> dict[str, dict[str, float]]:
        return {"ci": self._labels}


def told(log: Log, labels: dict[str, float]) -> dict[str, LabelCounts]:
    """The counts of the one trusted source."""
    found = accuracy("m", BEGIN - timedelta(minutes=1), Labels(labels), log, FeedbackSpec(sole_source="ci"))
    assert all(counts.sources == {"ci": counts.labels} for counts in found.values())
    return {
        digest: LabelCounts(right=counts.right, requests=counts.requests, labels=counts.labels)
        for digest, counts in found.items()
    }


def test_rows_of_a_tensor_request_are_judged_by_their_own_labels():
    log, labels = Log(), {}
    for n in range(50):
        log.answer(f"q{n}", "champion", {f"a{n}": 1, f"b{n}": 0})
        log.answer(f"q{n}", "candidate", {f"c{n}": 1, f"d{n}": 0}, shadow=True)
        labels |= {f"a{n}": 1.0, f"b{n}": 0.0}
    found = told(log, labels)
    assert found["candidate"] == found["champion"] == LabelCounts(right=50, requests=50, labels=100)


def test_a_row_without_label_does_not_shift_those_behind_it():
    log = Log()
    log.answer("q", "champion", {"a0": 1, "a1": 0, "a2": 1})
    log.answer("q", "candidate", {"c0": 1, "c1": 0, "c2": 1}, shadow=True)
    found = told(log, {"a1": 0.0, "a2": 1.0})
    assert found["candidate"] == LabelCounts(right=1, requests=1, labels=2)


def test_a_request_id_that_a_client_uses_again_is_paired_in_order():
    log = Log()
    for decision in (1, 0):
        log.answer("q", "champion", {f"a{decision}": decision}, entity='{"t":"1"}')
        log.answer("q", "candidate", {f"c{decision}": decision}, shadow=True, entity='{"t":"1"}')
    found = told(log, {"a1": 1.0, "a0": 0.0})
    assert found["candidate"] == found["champion"] == LabelCounts(right=1, requests=1, labels=2)


def test_a_lost_copy_of_such_a_request_is_no_wrong_answer():
    log = Log()
    log.answer("q", "champion", {"a1": 1})
    log.answer("q", "champion", {"a0": 0})
    log.answer("q", "candidate", {"c0": 0}, shadow=True)  # of the second: the first one's copy was lost
    assert "candidate" not in told(log, {"a1": 1.0, "a0": 0.0})


def test_an_earlier_candidates_copies_do_not_shift_a_later_ones():
    log = Log()
    log.answer("q", "champion", {"a1": 1, "a0": 0})
    log.answer("q", "earlier", {"e1": 0, "e0": 0}, shadow=True)
    log.answer("q", "candidate", {"c1": 1, "c0": 0}, shadow=True)
    found = told(log, {"a1": 1.0, "a0": 0.0})
    assert found["candidate"].right == 1
    assert found["earlier"].right == 0.5
