"""One look at a model: which predictions are judged, what is asked for, and what is remembered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.detectors import MemoryDetectors
from doubles.drift import MemoryDrift
from doubles.feedback import AskedWhole
from doubles.growing import watched
from doubles.routing import MemoryRouter
from doubles.scheduler import MemoryScheduler

from perennial import catalog
from perennial.adapters.reference_models import references
from perennial.core.assets import Reason, retrain_asset
from perennial.core.events import Entry, Event
from perennial.core.governance.ledger import GENESIS, chain
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.levels import Level
from perennial.core.monitoring.retraining import Hold, Retrain
from perennial.core.monitoring_spec import ProspectsSpec
from perennial.core.release.traffic import Route, Target
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import (
    DataError,
    MalformedInput,
    SchedulerUnavailable,
    TrackerUnavailable,
    UnknownVersion,
    UsageError,
)
from perennial.flows.monitoring import monitor
from perennial.flows.monitoring.back_test import back_test_champion, request_for_labels
from perennial.flows.monitoring.retrain import request_retraining
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
DIGEST = "a" * 64
CHAMPION = Target(version="1.0.0", digest=DIGEST, release_id="r1")


def rows(seed: int, count: int, shift: float = 0.0, wrong: float = 0.1) -> pd.DataFrame:
    """Feature values, a score, and whether the test failed; `wrong` of the answers are."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(shift, 1, count) for name in SPEC.features.names})
    failed = rng.random(count) < 0.3
    score = np.where(failed ^ (rng.random(count) < wrong), 0.9, 0.1)
    return frame.assign(score=score, failed=failed.astype(int), cycle=np.arange(count) // 50)


@dataclass
class Log:
    """The predictions of one table, a second apart, the last one just now."""

    frame: pd.DataFrame

    @classmethod
    def of(
        cls, table: pd.DataFrame, digest: str = DIGEST, shadow: bool = False, until: datetime = NOW
    ) -> Log:
        count = len(table)
        features = table[list(SPEC.features.names)].add_prefix("feature:")
        at = pd.date_range(end=until, periods=count, freq="s").as_unit("ns")
        ids = [f"{digest[:4]}-{one.value}" for one in at]
        score = table["score"].to_numpy()
        known = {"prediction_id": ids, "at": at, "digest": digest, "shadow": shadow, "score": score}
        return cls(
            pd.DataFrame(known)
            .assign(decision=(score >= 0.5).astype(int), task="")
            .join(features.reset_index(drop=True))
        )

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        return self.frame if since is None else self.frame[self.frame["at"] >= since]

    def __add__(self, other: Log) -> Log:
        return Log(pd.concat([self.frame, other.frame]).sort_values("at", ignore_index=True))


@dataclass
class Kept(AskedWhole):
    """Ledger, labels, registry and tracker of one model."""

    reference: pd.DataFrame | None
    known: dict[str, float] = field(default_factory=dict)
    reviews: dict[str, float] = field(default_factory=dict)
    entries: list = field(default_factory=list)
    artifacts: list = field(default_factory=list)
    fetched: int = 0
    digest: str = DIGEST
    down: bool = False

    def append(self, entry):
        before = self.entries[-1].hash if self.entries else GENESIS
        self.entries.append(chain(entry, len(self.entries) + 1, before))
        return self.entries[-1]

    def rows(self, model=None):
        return list(self.entries)

    def kinds(self):
        return [row.entry.kind for row in self.entries]

    def labels(self, since=None):
        return {"ci": self.known} if self.known else {}

    def reviewed(self, since=None):
        return {"ci": self.reviews} if self.reviews else {}

    def find(self, model, which):
        ref = VersionRef(model=model, version="1.0.0", key="1", digest=self.digest, capsule="c")
        return VersionRecord(ref=ref, run_id="run", created=NOW)

    def fetch(self, ref, into):
        self.fetched += 1
        into.mkdir(parents=True)
        if self.reference is not None:
            self.reference.to_parquet(into / "reference.parquet")
        return into

    def reopen(self, run_id):
        if self.down:
            raise TrackerUnavailable("MLflow does not answer", hint="start it")
        return self

    def artifact(self, path, folder=""):
        self.artifacts.append((path.name, folder))


class Stage:
    """Everything around one look."""

    def __init__(self, folder, window: pd.DataFrame | None, labelled: bool = True) -> None:
        self.kept = Kept(rows(0, 3000))
        self.router = MemoryRouter()
        self.router.apply(Route(model=SPEC.name, stable=CHAMPION))
        self.scheduler = MemoryScheduler({retrain_asset(SPEC.name): "train"})
        self.detectors = MemoryDetectors()
        self.folders = monitor.MonitorFolders(folder / "references", folder / "reports")
        self.see(rows(1, 0) if window is None else window, labelled)

    def see(self, window: pd.DataFrame, labelled: bool = True, until: datetime = NOW) -> None:
        self.log = Log.of(window, until=until)
        if labelled:
            verdicts = window["failed"].astype(float)
            self.kept.known |= dict(zip(self.log.frame["prediction_id"], verdicts, strict=True))

    def ports(self) -> monitor.MonitorPorts:
        kept = self.kept
        return monitor.MonitorPorts(
            router=self.router, registry=kept, tracker=kept, predictions=self.log,
            watched=watched(self.log), feedback=kept, ledger=kept,
            drift=MemoryDrift(), scheduler=self.scheduler, detectors=self.detectors,
            budget=AlarmBudget(alarms_a_month=1, drift_warnings_a_month=1, models=(SPEC.name,)),
            references=references,
        )  # fmt: skip

    def look(self, now: datetime = NOW, spec: ModelSpec = SPEC) -> monitor.MonitorResult:
        return monitor.monitor_model(spec, self.ports(), self.folders, now)


def test_a_window_like_the_reference_is_ok(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    seen = stage.look()
    assert seen.verdict.level is Level.OK
    assert isinstance(seen.decision, Hold)
    assert not stage.scheduler.events
    assert stage.kept.kinds() == ["monitor.level"]
    assert seen.report is not None
    assert seen.report.is_file()


def test_drift_alone_warns_and_asks_for_nothing(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, shift=2.0))
    seen = stage.look()
    assert seen.verdict.level is Level.WARN
    assert seen.decision == Hold(why="the level is warn")
    assert not stage.scheduler.events


def test_harm_asks_for_a_retraining_once(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    seen = stage.look()
    assert isinstance(seen.decision, Retrain)
    ((asset, extra),) = stage.scheduler.events
    assert asset == "perennial/test_failure_predictor/retrain"
    assert (extra["reason"], extra["digest"]) == ("accuracy", DIGEST)
    entry = next(row.entry for row in stage.kept.entries if row.entry.kind == Event.RETRAIN_REQUESTED)
    assert entry.payload == extra
    assert entry.payload["text"] == seen.decision.text
    assert stage.kept.artifacts == [(seen.report.name, "monitoring")]
    assert "this window" in stage.look(NOW + SPEC.retraining.cooldown * 2).decision.why
    assert len(stage.scheduler.events) == 1


def test_a_handful_of_requests_asks_for_no_second_retraining(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    assert isinstance(stage.look().decision, Retrain)
    later = NOW + SPEC.retraining.cooldown * 2
    stage.log += Log.of(rows(6, 5, wrong=0.35), until=later)
    seen = stage.look(later)
    assert seen.verdict.level is Level.RETRAIN
    assert "the same alarm of this champion asked" in seen.decision.why
    assert len(stage.scheduler.events) == 1


def test_without_labels_the_accuracy_is_not_judged(tmp_path):
    seen = Stage(tmp_path, rows(3, 1500, wrong=0.35), labelled=False).look()
    assert seen.verdict.drop_percent is None
    assert isinstance(seen.decision, Hold)


def test_reviews_judge_the_accuracy_where_the_spec_counts_them(tmp_path):
    stage = Stage(tmp_path, rows(3, 1500, wrong=0.35))
    stage.kept.known, stage.kept.reviews = {}, stage.kept.known
    assert stage.look().verdict.drop_percent is None
    counting = SPEC.release.feedback.model_copy(update={"reviews": True})
    release = SPEC.release.model_copy(update={"feedback": counting})
    seen = stage.look(spec=SPEC.model_copy(update={"release": release}))
    assert seen.verdict.drop_percent > 20


def test_only_answers_of_the_champion_to_clients_count(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.log += Log.of(rows(4, 3000, shift=3.0), digest="b" * 64)
    stage.log += Log.of(rows(5, 3000, shift=3.0), shadow=True)
    assert stage.look().verdict.level is Level.OK


def test_the_newest_predictions_make_the_window(tmp_path):
    stage = Stage(tmp_path, None)
    stage.log = Log.of(rows(2, 2000, shift=2.0), until=NOW - timedelta(hours=2)) + Log.of(rows(1, 1500))
    assert stage.look().verdict.level is Level.OK


def test_a_new_champion_has_no_verdict_before_it_has_answered_enough(tmp_path):
    stage = Stage(tmp_path, rows(2, SPEC.monitoring.min_window - 1, shift=3.0))
    seen = stage.look()
    assert seen.verdict.level is Level.UNSURE
    assert stage.kept.kinds() == []
    assert stage.kept.fetched == 1, "what the first verdict needs is there before it"


def test_a_model_without_traffic_is_unsure(tmp_path):
    stage = Stage(tmp_path, None)
    stage.router = MemoryRouter()
    assert stage.look().verdict.level is Level.UNSURE


def test_the_level_is_recorded_when_it_changes(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.look()
    stage.look()
    stage.see(rows(3, 1500, wrong=0.2), until=NOW + timedelta(hours=1))
    stage.look(NOW + timedelta(hours=1))
    levels = [row.entry.payload["to"] for row in stage.kept.entries if row.entry.kind == "monitor.level"]
    assert levels[0] == "ok"
    assert len(levels) == 2


def test_the_reference_is_fetched_once(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.look()
    stage.look()
    assert stage.kept.fetched == 1


def test_reports_do_not_pile_up(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    for second in range(monitor.KEPT_REPORTS + 3):
        last = stage.look(NOW + timedelta(seconds=second))
    pages = sorted(last.report.parent.iterdir())
    assert len(pages) == monitor.KEPT_REPORTS
    assert last.report in pages


def test_an_event_that_cannot_be_raised_is_recorded_nowhere_and_raised_later(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    stage.scheduler.down = True
    with pytest.raises(SchedulerUnavailable):
        stage.look()
    assert Event.RETRAIN_REQUESTED not in stage.kept.kinds()
    stage.scheduler.down = False
    stage.look()
    assert len(stage.scheduler.events) == 1


def test_killed_between_event_and_record_the_same_key_comes_again(tmp_path, monkeypatch):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    monkeypatch.setattr(stage.kept, "append", lambda entry: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        stage.look()
    monkeypatch.undo()
    stage.look(NOW + timedelta(seconds=5))
    keys = [extra["key"] for _, extra in stage.scheduler.events]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_tracker_that_is_down_is_told_and_changes_nothing(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    stage.kept.down = True
    seen = stage.look()
    assert isinstance(seen.decision, Retrain)
    assert "MLflow" in seen.problems[0]


def test_a_check_of_a_day_that_cannot_be_read_is_told_and_changes_nothing(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    path = stage.folders.reports / "daily" / SPEC.name / f"{NOW.date()}.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    seen = stage.look()
    assert isinstance(seen.decision, Retrain)
    assert f"{path} is no check of a day" in seen.problems[0]


def test_a_route_to_an_unregistered_digest_is_an_error(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.kept.digest = "f" * 64
    with pytest.raises(UnknownVersion, match=DIGEST[:12]):
        stage.look()


def test_a_version_without_a_reference_is_an_error(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.kept = replace(stage.kept, reference=None)
    with pytest.raises(MalformedInput, match=r"reference\.parquet"):
        stage.look()


def test_a_person_asks_and_starts_the_cooldown_of_the_monitor(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    entry = request_retraining(SPEC.name, Reason.PERSON, " new rig ", "ada", stage.kept, stage.scheduler, NOW)
    assert (entry.actor, entry.payload["text"]) == ("ada", "new rig")
    assert "quiet until" in stage.look(NOW + timedelta(minutes=1)).decision.why
    assert len(stage.scheduler.events) == 1


def test_a_request_needs_a_reason_in_words(tmp_path):
    stage = Stage(tmp_path, None)
    with pytest.raises(UsageError):
        request_retraining(SPEC.name, Reason.PERSON, "  ", "ada", stage.kept, stage.scheduler, NOW)
    assert not stage.scheduler.events


def test_a_retraining_that_brought_nothing_makes_the_next_wait_longer(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    stage.look()
    request_retraining(SPEC.name, Reason.PERSON, "new rig", "ada", stage.kept, stage.scheduler, NOW)
    for kind in (Event.RELEASE_OPENED, Event.RELEASE_REJECTED):
        stage.kept.append(Entry(at=NOW, actor="gate", kind=kind, model=SPEC.name, release_id="r2"))
    later = NOW + SPEC.retraining.cooldown * 1.5
    stage.see(rows(3, 1500, wrong=0.35), until=later)
    seen = stage.look(later)
    assert "brought nothing" in seen.decision.why
    much_later = NOW + SPEC.retraining.cooldown * 2.1
    stage.see(rows(4, 1500, wrong=0.35), until=much_later)
    assert isinstance(stage.look(much_later).decision, Retrain)


def test_features_that_nobody_sends_ask_a_person_and_start_no_training(tmp_path):
    window = rows(2, 1500, wrong=0.35)
    window[SPEC.features.names[0]] = np.nan
    stage = Stage(tmp_path, window)
    seen = stage.look()
    assert isinstance(seen.decision, Hold)
    assert "would not help" in seen.decision.why
    assert not stage.scheduler.events
    stage.see(window, until=NOW + timedelta(hours=1))
    assert "withheld at" in stage.look(NOW + timedelta(hours=1)).decision.why
    assert stage.kept.kinds().count(Event.RETRAIN_WITHHELD) == 1
    stage.see(rows(2, 1500, wrong=0.35), until=NOW + SPEC.retraining.cooldown)
    assert isinstance(stage.look(NOW + SPEC.retraining.cooldown).decision, Retrain), "mended"


def test_a_request_holds_what_the_back_test_says(tmp_path):
    stage = Stage(tmp_path, rows(2, 1500, wrong=0.35))
    stage.look()
    ((_, extra),) = stage.scheduler.events
    assert (extra["backtest"]["learnt"], extra["backtest"]["judged"]) == (1050, 450)
    assert "gain" in extra["likely"]
    assert extra["backtest"]["gain"]["measure"] == "accuracy"


def test_enough_labels_ask_once_for_a_champion(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    assert "is not set" in request_for_labels(SPEC, stage.ports(), NOW).why
    spec = SPEC.model_copy(update={"retraining": SPEC.retraining.model_copy(update={"enough_labels": 1501})})
    assert "1500 labels" in request_for_labels(spec, stage.ports(), NOW).why
    spec = SPEC.model_copy(update={"retraining": SPEC.retraining.model_copy(update={"enough_labels": 1500})})
    assert request_for_labels(spec, stage.ports(), NOW).reason is Reason.LABELS
    ((_, extra),) = stage.scheduler.events
    assert (extra["reason"], extra["digest"]) == ("labels", DIGEST)
    assert "asked at" in request_for_labels(spec, stage.ports(), NOW + timedelta(days=6)).why
    assert len(stage.scheduler.events) == 1


def test_the_cooldown_holds_labels_too_and_the_same_key_comes_again_after_a_kill(tmp_path, monkeypatch):
    stage = Stage(tmp_path, rows(1, 1500))
    spec = SPEC.model_copy(update={"retraining": SPEC.retraining.model_copy(update={"enough_labels": 1000})})
    with monkeypatch.context() as killed:
        killed.setattr(stage.kept, "append", lambda entry: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            request_for_labels(spec, stage.ports(), NOW)
    request_for_labels(spec, stage.ports(), NOW)
    assert len({extra["key"] for _, extra in stage.scheduler.events}) == 1
    other = Stage(tmp_path / "other", rows(1, 1500))
    request_retraining(SPEC.name, Reason.PERSON, "new rig", "ada", other.kept, other.scheduler, NOW)
    assert "quiet until" in request_for_labels(spec, other.ports(), NOW + timedelta(minutes=1)).why


def test_labels_that_promise_no_gain_alert_a_person_and_start_nothing(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    wanted = {"enough_labels": 1000, "prospects": ProspectsSpec(labels_need_gain=True)}
    spec = SPEC.model_copy(update={"retraining": SPEC.retraining.model_copy(update=wanted)})
    decision = request_for_labels(spec, stage.ports(), NOW)
    assert isinstance(decision, Hold)
    assert "no gain is" in decision.why
    assert not stage.scheduler.events
    assert "withheld at" in request_for_labels(spec, stage.ports(), NOW + timedelta(days=6)).why
    assert stage.kept.kinds() == [Event.RETRAIN_WITHHELD]


def test_a_back_test_by_hand_starts_nothing(tmp_path):
    stage = Stage(tmp_path, rows(1, 1500))
    result = back_test_champion(SPEC, stage.ports(), NOW)
    assert (result.version, result.learnt) == ("1.0.0", 1050)
    assert stage.kept.kinds() == []
    none = SPEC.retraining.model_copy(update={"prospects": ProspectsSpec(backtest_rows=0)})
    with pytest.raises(DataError, match="no back-test"):
        back_test_champion(SPEC.model_copy(update={"retraining": none}), stage.ports(), NOW)
    stage.router = MemoryRouter()
    with pytest.raises(DataError, match="traffic"):
        back_test_champion(SPEC, stage.ports(), NOW)
