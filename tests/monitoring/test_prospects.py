"""When a retraining would not help, and what a cheap back-test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.releases import MemoryFeedback, MemoryLedger
from pydantic import ValidationError

from perennial import catalog
from perennial.adapters.reference_models import references
from perennial.core.assets import Reason
from perennial.core.events import Event, SystemActor
from perennial.core.monitoring.levels import AccuracyEstimate
from perennial.core.monitoring.worth.prospects import (
    Doubt,
    DoubtKind,
    Withheld,
    few_labels,
    no_gain,
    prior_shift,
    still_withheld,
    unpromising,
    withheld_entry,
)
from perennial.core.monitoring_spec import ProspectsSpec
from perennial.core.release.traffic import Target
from perennial.flows.monitoring.prospects import back_test, newest_labelled
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
POLICY = ProspectsSpec()
NOW = datetime(2026, 3, 2, tzinfo=UTC)
CHAMPION = Target(version="1.0.0", digest="a" * 64, release_id="r1")


def scores(share: float, count: int = 4000, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated scores of a world with 10 % positives, for labels of which `share` are positive."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < share).astype(float)
    evidence = rng.normal(np.where(label > 0, 1.2, -1.2), 1.2)  # log-likelihood ratio: 2 * 1.2 * x / 1.2^2
    odds = np.exp(2 * 1.2 * evidence / 1.2**2) * 0.1 / 0.9
    return odds / (1 + odds), label


def known(share: float = 0.1) -> AccuracyEstimate:
    score, label = scores(share, seed=6)
    return AccuracyEstimate.of((score >= 0.5) == (label > 0), np.arange(len(label)))


def shifted(score, label, share=0.1, reference=None):
    group = np.arange(len(label)).astype(str)
    return prior_shift(
        score, label, group, 0.5, share, reference or known(), SPEC.monitoring, "perennial recalibrate m"
    )


def test_more_positives_of_the_same_kind_are_mended_by_a_recalibration():
    calm = AccuracyEstimate(value=0.84, error=0.005, labels=4000)
    doubt = shifted(*scores(0.5), reference=calm)
    assert doubt.kind is DoubtKind.PRIOR
    assert "recalibrate" in doubt.text


def test_the_same_share_few_labels_and_labels_that_scores_do_not_tell_are_not():
    score, label = scores(0.1)
    assert shifted(score, label) is None
    assert shifted(*(part[:20] for part in scores(0.5))) is None
    rng = np.random.default_rng(0)
    changed = np.where(rng.random(len(label)) < 0.3, 1.0, label)
    assert shifted(score, changed) is None
    assert shifted(score, np.zeros(len(label))) is None
    assert shifted(score, label, share=0.0) is None


def test_few_labels():
    needed = POLICY.model_copy(update={"fewest_labels": 100})
    assert few_labels(99, needed).kind is DoubtKind.LABELS
    assert few_labels(100, needed) is None
    assert few_labels(None, needed) is None
    assert few_labels(0, POLICY) is None


def answered(rule, count: int = 2400) -> pd.DataFrame:
    """Labelled answers, four rows a request: the champion looks at f0 alone, the labels follow `rule`."""
    features = np.random.default_rng(1).normal(size=(count, 2))
    return pd.DataFrame(
        {
            "prediction_id": [f"p{place}" for place in range(count)],
            "request": [f"q{place // 4}" for place in range(count)],
            "feature:f0": features[:, 0],
            "feature:f1": features[:, 1],
            "score": np.where(features[:, 0] > 0, 0.9, 0.1),
            "decision": (features[:, 0] > 0).astype(int),
            "task": "",
            "answer": None,
            "value": rule(features).astype(float),
        }
    )


def test_a_back_test_sees_what_recent_labels_teach():
    changed = back_test(SPEC, CHAMPION, answered(lambda x: (x[:, 0] > 0) | (x[:, 1] > 0.5)), references, NOW)
    assert (changed.learnt, changed.judged) == (1680, 720)
    assert changed.gain.low > 0.05
    assert "a gain is likely" in changed.in_words
    assert no_gain(changed, POLICY.model_copy(update={"least_gain": 0.01})) is None
    assert unpromising(changed, ProspectsSpec(labels_need_gain=True)) is None


def test_a_back_test_of_a_world_that_did_not_change_promises_nothing():
    noise = np.random.default_rng(2).random(2400) < 0.1
    same = back_test(SPEC, CHAMPION, answered(lambda x: (x[:, 0] > 0) ^ noise), references, NOW)
    assert same.gain.high < 0.05
    assert "a gain is likely" not in same.in_words
    assert no_gain(same, POLICY) is None, "it only informs"
    needed = POLICY.model_copy(update={"least_gain": 0.05})
    assert no_gain(same, needed).kind is DoubtKind.BACKTEST
    assert unpromising(same, POLICY) is None, "labels need no gain unless the spec says so"
    assert unpromising(same, needed) == no_gain(same, needed)
    assert unpromising(same, ProspectsSpec(labels_need_gain=True)).text == same.in_words


@pytest.mark.parametrize("rows", [0, 300])
def test_too_few_labels_make_no_back_test(rows):
    few = back_test(SPEC, CHAMPION, answered(lambda x: x[:, 0] > 0).head(rows), references, NOW)
    assert few.gain is None
    assert "no back-test" in few.in_words
    assert "no back-test" in unpromising(few, ProspectsSpec(labels_need_gain=True)).text
    with pytest.raises(ValidationError, match="needs a back-test"):
        ProspectsSpec(labels_need_gain=True, backtest_rows=0)


def test_an_alert_is_raised_once_in_a_cooldown_and_for_this_champion():
    ledger, day = MemoryLedger(), timedelta(days=1)
    doubt = Doubt(kind=DoubtKind.UPSTREAM, text="a is missing")
    ledger.append(
        withheld_entry(
            "m", SystemActor.MONITOR, "d1", "w1", Reason.ACCURACY, "2 features moved", [doubt], None, NOW
        )
    )
    (row,) = ledger.rows()
    assert row.entry.kind == Event.RETRAIN_WITHHELD
    assert Withheld.read(row.entry).doubts == (doubt,)
    assert still_withheld([row], "d1", Reason.ACCURACY, day, NOW + day / 2) == row
    assert still_withheld([row], "d1", Reason.ACCURACY, day, NOW + day) is None
    assert still_withheld([row], "d2", Reason.ACCURACY, day, NOW) is None


def test_what_was_said_about_new_labels_holds_no_alarm():
    ledger, day = MemoryLedger(), timedelta(days=1)
    doubt = Doubt(kind=DoubtKind.BACKTEST, text="no gain is proven")
    ledger.append(withheld_entry("m", "monitor", "d1", "w1", Reason.LABELS, "9 labels", [doubt], None, NOW))
    rows = ledger.rows()
    assert still_withheld(rows, "d1", Reason.LABELS, day, NOW)
    assert still_withheld(rows, "d1", Reason.ACCURACY, day, NOW) is None


class Log:
    """A prediction a minute, each with a label; keeps from when on it was read."""

    def __init__(self, minutes: int) -> None:
        names = [f"p{minute}" for minute in range(minutes)]
        at = [NOW - timedelta(minutes=minute) for minute in range(minutes)]
        self.frame = pd.DataFrame({"prediction_id": names, "at": at, "digest": "d", "shadow": False})
        self.feedback = MemoryFeedback()
        self.feedback.put(dict.fromkeys(names, 1.0), NOW, "ci")
        self.read_from: list[timedelta] = []

    def read(self, model, since):
        self.read_from.append(NOW - since)
        return self.frame[self.frame["at"] >= since].sort_values("at", ignore_index=True)


@pytest.mark.parametrize(
    ("minutes", "days", "hours", "rows"),
    [
        (9000, 400, [1, 24, 168], 9000),
        (40, 400, [1, 24, 168, 720, 9600], 40),
        (9000, 0.5, [1, 12], 721),
    ],
    ids=["newest are enough", "few at all", "young champion"],
)
def test_an_alarm_reads_no_more_of_the_log_than_it_needs(minutes, days, hours, rows):
    log = Log(minutes)
    since = NOW - timedelta(days=days)
    found = newest_labelled(SPEC, "d", since, log, log.feedback, NOW)
    assert (log.read_from, len(found)) == ([timedelta(hours=back) for back in hours], rows)
