"""Whose requests are left out of the labels, and whose are not though fewer labels of them come."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from perennial import catalog
from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.analysis.labels import judge_labels
from perennial.core.release.analysis.simulated_labels import observed_truths
from perennial.core.release.label_counts import LabelCounts
from perennial.core.release_spec import FeedbackSpec
from perennial.core.verdict import Verdict
from perennial.flows.monitoring.accuracy import Span, accuracy_by_step

BEGIN = pd.Timestamp("2026-03-02T08:00Z")
CRITERIA = catalog.spec("test_failure_predictor").release.criteria
CI = FeedbackSpec(sole_source="ci")


class Log:
    """Requests of both versions at half of the traffic, and the labels that came."""

    def __init__(self, seed: int) -> None:
        self.random, self.rows, self.by_source = np.random.default_rng(seed), [], {}

    def ask(self, count, client, failing, errors, *, chance=1.0, source="ci", lies=False, **named) -> None:
        """Add requests.

        Args:
            failing: share of failures; errors: version -> missed failures and false alarms.
            chance: that a label of a passing and of a failing request comes, or of both; lies: labels are the contrary.
        """
        of_truth = chance if isinstance(chance, tuple) else (chance, chance)
        for _ in range(count):
            truth, digest = int(self.random.random() < failing), self.random.choice(list(errors))
            wrong = self.random.random() < errors[digest][0 if truth else 1]
            name = f"p{len(self.rows)}"
            self.rows.append(
                {
                    "prediction_id": name, "request_id": f"q{name}", "digest": digest, "task": "", "shadow": False,
                    "score": float(truth != wrong), "decision": int(truth != wrong), "client": client,
                    "at": BEGIN + timedelta(seconds=float(self.random.random() * 3600)), "unit": None,
                    "entity": json.dumps({"test": int(self.random.integers(300))}), **named,
                }
            )  # fmt: skip
            if self.random.random() < of_truth[truth]:
                self.by_source.setdefault(source, {})[name] = float(truth != lies)

    def read(self, model: str, since=None) -> pd.DataFrame:
        return pd.DataFrame(self.rows)

    def labels(self, since=None) -> dict[str, dict[str, float]]:
        return self.by_source

    def counts(self, policy: FeedbackSpec = CI, *spans: Span) -> tuple[dict[str, LabelCounts], ...]:
        now, delay = BEGIN + timedelta(hours=3), LabelDelay(hours=0.0)
        return accuracy_by_step("m", spans or [Span(BEGIN)], self, self, policy, now=now, delay=delay)


def verdict(counts: dict[str, LabelCounts]) -> Verdict:
    return judge_labels(CRITERIA, counts["candidate"], counts["champion"])[0].verdict


BETTER = {"champion": (0.05, 0.55), "candidate": (0.95, 0.02)}
CALLED_FAILING = {"champion": (0.0, 0.9), "candidate": (0.0, 0.05)}
"""Of a check whose answers are all "false alarms": the champion sees a failure nearly always, the candidate hardly."""


def test_harm_to_a_client_that_labels_a_fifth_is_found():
    log = Log(1)
    log.ask(12_000, "often", 0.3, {"champion": (0.05, 0.05), "candidate": (0.05, 0.05)}, chance=0.9)
    log.ask(8_000, "seldom", 0.3, {"champion": (0.05, 0.05), "candidate": (0.6, 0.6)}, chance=0.2)
    (counts,) = log.counts()
    assert counts["candidate"].unlabelled == 0
    assert verdict(counts) is Verdict.FAIL


def test_tests_that_always_pass_stay_where_only_failures_are_labelled():
    log = Log(2)
    errors = {"champion": (0.05, 0.4), "candidate": (0.35, 0.02)}
    for number in range(20):
        failing = 0.97 if number < 4 else 0.0
        log.ask(1_000, "ci", failing, errors, chance=(0.0, 0.95), entity=json.dumps({"test": number}))
    (counts,) = log.counts()
    assert counts["candidate"].unlabelled == counts["champion"].unlabelled == 0
    assert verdict(counts) is Verdict.PASS


def test_without_a_source_who_only_it_labels_is_left_out():
    """One source lies about its client, whose requests alone would make the others' labels look like harm."""
    log = Log(3)
    log.ask(12_000, "theirs", 0.0, CALLED_FAILING, source="liar", lies=True)
    for source in ("first", "second"):
        log.ask(4_000, "ours", 0.2, BETTER, source=source)
    (counts,) = log.counts(FeedbackSpec())
    assert verdict(counts) is Verdict.UNSURE
    assert counts["candidate"].without["liar"].unlabelled > 5_000
    assert counts["candidate"].without["first"].unlabelled == 0


def test_a_cap_on_a_source_makes_nobody_silent():
    log = Log(4)
    log.ask(18_000, "large", 0.3, {"champion": (0.05, 0.05), "candidate": (0.8, 0.8)}, source="large")
    for source in ("a", "b", "c", "d"):
        log.ask(500, source, 0.3, {"champion": (0.05, 0.05), "candidate": (0.05, 0.05)}, source=source)
    (counts,) = log.counts(FeedbackSpec(source_share=0.25))
    assert counts["candidate"].unlabelled == counts["champion"].unlabelled == 0
    assert counts["candidate"].sources["large"] > 300


def test_who_is_silent_over_all_steps_is_left_out_of_a_young_one():
    log = Log(5)
    log.ask(8_000, "ci", 0.2, BETTER)
    log.ask(12_000, "probe", 0.0, CALLED_FAILING, chance=0.0)
    young = BEGIN + timedelta(minutes=59)
    for counts in log.counts(CI, Span(BEGIN, young), Span(young)):
        assert counts["candidate"].answered == counts["candidate"].requests
        assert counts["candidate"].unlabelled > 0


@pytest.mark.parametrize("ids", [12_000, 6_000])
def test_copies_of_a_check_are_left_out_where_ids_are_used_again_and_some_are_lost(ids):
    log = Log(6)
    log.ask(8_000, "ci", 0.2, {"champion": (0.05, 0.05)})
    log.ask(12_000, "probe", 0.0, {"champion": (0.0, 1.0)}, chance=0.0, entity="{}")
    for number, row in enumerate(log.rows[8_000:]):
        row["request_id"] = f"check{number % ids}"
    for number, row in enumerate(list(log.rows)):
        if log.random.random() < 0.95:
            is_check = row["client"] == "probe"
            wrong = not is_check and log.random.random() < 0.15
            decision = int(row["decision"] != wrong)
            copy = {
                "prediction_id": f"m{number}",
                "digest": "candidate",
                "shadow": True,
                "decision": decision,
            }
            log.rows.append({**row, **copy, "score": float(decision)})
    (counts,) = log.counts()
    assert counts["champion"].answered == 8_000
    assert counts["candidate"].answered == counts["candidate"].requests
    assert counts["candidate"].unlabelled == pytest.approx(ids, rel=0.06)
    assert verdict(counts) is Verdict.FAIL


def test_a_rehearsal_simulates_as_many_labels_as_come():
    log = Log(7)
    log.ask(3_000, "ci", 0.2, {"champion": (0.3, 0.05)}, chance=0.5)
    log.ask(18_000, "probe", 0.0, {"champion": (0.0, 0.0)}, chance=0.0)
    (counts,) = log.counts()
    simulated = sum(truth.share * truth.labelled for truth in observed_truths(list(counts.values())))
    assert simulated * len(log.rows) == pytest.approx(len(log.by_source["ci"]), rel=0.05)
