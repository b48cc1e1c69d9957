"""The demo over a table: its cases, its figures, and its respect for folders of other people."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import pandas as pd
import pytest

from perennial.core.monitoring.worth.effect import Effect, EffectVerdict, Measure, PairedDifference
from perennial.demo import accuracy, report, table_script
from perennial.demo.clinic import NEWEST, SHIFTED_FROM, TARGET, TIME, Clinic
from perennial.demo.replay import ReplayCounts
from perennial.demo.report import DemoResult
from perennial.errors import UsageError
from perennial.settings import Settings


@pytest.fixture
def clinic(tmp_path) -> Clinic:
    made = Clinic(tmp_path / "tumours.csv")
    made.write()
    return made


def read(tmp_path) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "tumours.csv", parse_dates=[TIME])


def test_finished_batches_are_the_newest_rows_of_the_table(clinic, tmp_path):
    first = read(tmp_path)
    batches = list(itertools.islice(clinic.batches(), 4))
    for batch in batches:
        clinic.finish(batch.number)
    table = read(tmp_path)
    assert len(table) == NEWEST
    assert (table[TIME].diff().dropna() == pd.Timedelta(hours=1)).all()
    assert table[TIME].iloc[-1] - first[TIME].iloc[-1] == pd.Timedelta(hours=100)
    bodies, labels = zip(*batches[-1].requests, strict=True)
    last = table.tail(len(labels))
    assert last[TARGET].tolist() == list(labels)
    assert last["worst area"].tolist() == pytest.approx([body["rows"][0]["worst area"] for body in bodies])


def test_cases_are_new_and_within_the_range_that_the_rules_were_learnt_from(clinic, tmp_path):
    known = read(tmp_path).drop(columns=[TIME, TARGET])
    batches = itertools.islice(clinic.batches(), 10)
    drawn = pd.DataFrame([body["rows"][0] for batch in batches for body, _ in batch.requests])
    assert ((drawn >= known.min()) & (drawn <= known.max())).all(axis=None)
    assert not drawn.duplicated().any()
    assert drawn.merge(known, how="inner").empty


def test_the_shift_makes_coarse_tumours_malignant(clinic):
    requests = [batch.requests for batch in itertools.islice(clinic.batches(), 2 * SHIFTED_FROM)]
    before, after = (
        [(body["rows"][0]["mean texture"] > 18.5, label) for batch in part for body, label in batch]
        for part in (requests[:SHIFTED_FROM], requests[SHIFTED_FROM:])
    )
    assert {label for coarse, label in before if coarse} == {0, 1}
    assert {label for coarse, label in after if coarse} == {1}
    assert {label for coarse, label in after if not coarse} == {0, 1}


def test_accuracy_is_told_by_stage_and_without_mirrored_answers():
    log = pd.DataFrame(
        {
            "prediction_id": list("abcde"),
            "at": pd.to_datetime([f"2026-01-01T00:00:0{second}Z" for second in range(5)]),
            "version": ["1.0.0", "1.0.0", "1.0.0", "1.1.0", "1.1.0"],
            "shadow": [False, False, False, True, False],
            "score": [0.9, 0.1, 0.9, 0.1, 0.9],
        }
    )
    known = accuracy.labelled(log, pd.Series(dict.fromkeys("abcde", 1.0)), threshold=0.5)
    stages = accuracy.by_stage(known, datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC), "1.0.0", "1.1.0")
    assert stages == {
        "1.0.0 before the shift": 50.0,
        "1.0.0 after the shift": 100.0,
        "1.1.0 after the retraining": 100.0,
    }


def test_a_folder_that_the_demo_has_not_made_is_refused_and_kept(tmp_path):
    own = tmp_path / "notes.txt"
    own.write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        table_script.run(Settings(project=tmp_path), 40, print)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert own.read_text() == "mine"


def test_the_report_ends_with_the_effect_and_with_what_was_not_made():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    gain = PairedDifference(
        measure=Measure.ACCURACY,
        old=0.76,
        new=0.96,
        difference=0.2,
        low=0.15,
        high=0.25,
        batches=20,
        changes=90,
    )
    effect = Effect(
        model="m", release_id="r2", version="1.1.0", digest="d", against="1.0.0", since=at, until=at, complete=False,
        requests=500, labels=450, measured=gain, verdict=EffectVerdict.HELPED,
    )  # fmt: skip
    result = DemoResult(
        source="t.csv", why="", first="1.0.0", champion="1.1.0", shift_began=at, drift_seen=at, drift_text="",
        retrained=at, steps=[], counts=ReplayCounts(), effect=effect, next_gain="no gain is proven: accuracy +0.0000",
    )  # fmt: skip
    told = report.effect_line(result.effect)
    assert "helped: accuracy 0.7600 -> 0.9600, gain +0.2000 [+0.1500, +0.2500]" in told
    assert "450 labelled requests, which 1.0.0 answered again" in told
    assert "not measured" in report.effect_line(None)
    few = effect.model_copy(update={"measured": None, "verdict": EffectVerdict.TOO_FEW})
    assert report.effect_line(few).endswith("not enough labels (450)")
    summary = json.loads(json.dumps(result.summary()))
    assert summary["effect"]["measured"]["low"] == 0.15
    assert summary["next_retraining"] == "no gain is proven: accuracy +0.0000"
