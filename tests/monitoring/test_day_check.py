"""A day of live rows, checked by the suites of the training data and profiled: what a person is told."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.routing import MemoryRouter

from perennial import catalog
from perennial.adapters.gx_validator import GxValidator
from perennial.adapters.whylogs.profiler import WhylogsProfiler
from perennial.core.feature_spec import FeatureSpec
from perennial.core.input_spec import InputSpec
from perennial.core.monitoring.day_check import DayCheck, with_check
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.core.monitoring.volume import DayRequests
from perennial.core.performance.live_rows import live_rows as section
from perennial.core.release.traffic import Route, Target
from perennial.core.training.expectations import Expectation, Suite
from perennial.errors import UsageError
from perennial.flows.monitoring.daily.answers import answers_of
from perennial.flows.monitoring.daily.check import (
    CheckFolders,
    CheckPorts,
    check_day,
    kept_checks,
    newest_check,
    profile_path,
)
from perennial.flows.monitoring.daily.live_rows import live_rows
from perennial.settings import Settings

SETTINGS = Settings(spec_overlay=None)
SPEC = catalog.spec("test_failure_predictor", SETTINGS)
NAMES = list(SPEC.features.names)
CHAMPION = Target(version="1.0.0", digest="a" * 64, release_id="r1")
DAY = date(2025, 6, 12)
NOW = datetime(2025, 6, 13, 5, 30, tzinfo=UTC)
BEGIN = datetime(2025, 6, 12, tzinfo=UTC)
ROWS = 600
BETWEEN = "expect_column_values_to_be_between"


@dataclass
class Log:
    """Answers of a day, one a request, and the requests of the weeks before."""

    rows: pd.DataFrame

    def read(self, model, since=None, *, until=None):
        return self.rows[(self.rows["at"] >= since) & (self.rows["at"] < until)]

    def timings(self, model, since, *, until=None):
        return self.read(model, since, until=until)[["at", "shadow"]]


def table(seed: int, count: int) -> pd.DataFrame:
    """Return features that keep the rules of the suites."""
    rng = np.random.default_rng(seed)
    values = pd.DataFrame(rng.random((count, len(NAMES))), columns=NAMES)
    return values.assign(
        run_count=20.0, failure_count=3.0, recent_failures=2.0, last_execution_status=1.0,
    )  # fmt: skip


def logged(day: date, features: pd.DataFrame) -> pd.DataFrame:
    begin = pd.Timestamp(day, tz="UTC")
    at = begin + pd.to_timedelta(np.arange(len(features)) * 86_400 / len(features), unit="s")
    ids = [f"{day}-{number}" for number in range(len(features))]
    known = {"prediction_id": ids, "request_id": ids, "at": at, "digest": CHAMPION.digest, "shadow": False}
    return pd.DataFrame(known | {"score": 0.5, "names": json.dumps(NAMES)}).join(
        features.add_prefix("feature:")
    )


@pytest.fixture
def folders(tmp_path):
    folders = CheckFolders(tmp_path / "references", tmp_path / "reports", SETTINGS.configs / "expectations")
    folders.references.mkdir()
    reference = table(1, 1500).assign(score=0.5, **{SPEC.evaluation.group: np.arange(1500)})
    reference.to_parquet(folders.references / f"{CHAMPION.digest}.parquet")
    return folders


def check(folders, features: pd.DataFrame, day: date = DAY, newest: datetime = NOW) -> DayCheck:
    router = MemoryRouter()
    router.apply(Route(model=SPEC.name, stable=CHAMPION))
    ports = CheckPorts(
        router,
        None,
        Log(logged(day, features)),
        GxValidator(),
        WhylogsProfiler(),
        lambda: {SPEC.name: newest},
    )
    done = check_day(SPEC, ports, folders, day, NOW)
    assert done is not None
    return done


def test_rows_like_the_training_data_have_no_finding_and_a_profile(folders):
    done = check(folders, table(2, ROWS))
    assert list(done.findings()) == []
    assert (done.rows, done.checked > 10) == (ROWS, True)
    assert any("expect_table_row_count" in text for text in done.unchecked)
    check(folders, table(3, ROWS), DAY - timedelta(days=1))
    kept = kept_checks(folders.reports, SPEC.name, DAY - timedelta(days=9), WhylogsProfiler)
    newest, columns = kept.newest, kept.profile
    assert (newest, kept.unread) == (done, ())
    rate = next(column for column in columns if column.column == "pass_rate_7d")
    assert (rate.rows, rate.missing) == (2 * ROWS, 0), "profiles of two days are merged"
    assert rate.mean == pytest.approx(0.5, abs=0.05)
    again = kept_checks(folders.reports, SPEC.name, DAY, WhylogsProfiler)
    assert again.profile[0].rows == ROWS
    assert "Nothing is wrong with these rows" in section(again.newest, again.profile).text[0]


def test_broken_rules_missing_values_and_old_features_are_told_with_their_size(folders):
    features = table(2, ROWS)
    features.loc[:29, "pass_rate_7d"] = 1.5
    features.loc[::5, "failure_rate"] = np.nan
    done = check(folders, features, newest=NOW - timedelta(days=30))
    said = {text: level for level, text in done.findings()}
    broken = "5% of the rows that break the rule of the training data pass_rate_7d: expect_column_values_to_be_between"
    assert [level for text, level in said.items() if text.startswith(broken)] == [Level.WATCH]
    assert said["failure_rate is missing in 20% of the rows, 0% before"] is Level.WARN
    assert said["the newest stored feature value is 30.0 days old, 8.0 promised"] is Level.WARN
    assert newest_check(folders.reports, SPEC, CHAMPION, NOW) == (done, ())
    nothing = (None, ())
    assert newest_check(folders.reports, SPEC, CHAMPION, NOW + timedelta(days=2)) == nothing, "it is too old"
    other = CHAMPION.model_copy(update={"digest": "b" * 64})
    assert newest_check(folders.reports, SPEC, other, NOW) == nothing, "it speaks of another champion"
    calm = MonitorVerdict(level=Level.OK, reasons=("all is well",), rows=ROWS)
    judged = with_check(calm, done)
    assert judged.level is Level.WARN
    assert any("failure_rate is missing in 20%" in fault for fault in judged.faults), (
        "no retraining learns it"
    )
    assert all(reason.startswith(f"{DAY}: ") for reason in judged.reasons[:-1])
    assert with_check(calm, None) == calm


def test_damaged_files_of_a_day_are_left_out_and_told_until_the_day_is_checked_anew(folders):
    before = check(folders, table(3, ROWS), DAY - timedelta(days=1))
    done = check(folders, table(2, ROWS))
    profile_path(folders.reports, SPEC.name, DAY).write_bytes(b"torn")
    profile_path(folders.reports, SPEC.name, DAY).with_suffix(".json").write_text("{torn")
    kept = kept_checks(folders.reports, SPEC.name, DAY - timedelta(days=9), WhylogsProfiler)
    assert (kept.newest, kept.profile[0].rows) == (before, ROWS)
    again = f"perennial monitor check {SPEC.name} --day {DAY} makes it anew"
    assert all(text.endswith(f"({again})") for text in kept.unread)
    assert [f"{DAY}.json is no check" in kept.unread[0], f"{DAY}.bin is no profile" in kept.unread[1]] == [
        True,
        True,
    ]
    assert section(kept.newest, kept.profile, kept.unread).text[1:] == kept.unread
    assert check(folders, table(2, ROWS)) == done
    assert kept_checks(folders.reports, SPEC.name, DAY, WhylogsProfiler).unread == ()


def test_a_result_that_cannot_be_read_is_told_and_no_look_ends_by_it(folders):
    check(folders, table(2, ROWS))
    (path,) = (folders.reports / "daily" / SPEC.name).glob("*.json")
    path.write_text(path.read_text().replace('"rows"', '"of_a_later_version"'))
    none, (problem,) = newest_check(folders.reports, SPEC, CHAMPION, NOW)
    assert none is None
    assert f"{DAY}.json is no check of a day as this version writes it" in problem
    path.unlink()
    path.mkdir()  # not even root can read it
    none, (problem,) = newest_check(folders.reports, SPEC, CHAMPION, NOW)
    assert none is None
    assert f"{DAY}.json cannot be read" in problem


def test_a_day_that_has_not_ended_is_refused_and_hides_no_earlier_one(folders):
    done = check(folders, table(2, ROWS))
    for day in (NOW.date(), NOW.date() + timedelta(days=400)):
        with pytest.raises(UsageError, match=f"the day {day} \\(UTC\\) has not ended") as refused:
            check(folders, table(2, ROWS), day)
        assert str(DAY) in refused.value.hint
    assert newest_check(folders.reports, SPEC, CHAMPION, NOW) == (done, ())


def test_a_day_checked_late_says_nothing_of_today(folders):
    check(folders, table(2, ROWS), DAY - timedelta(days=9))
    assert newest_check(folders.reports, SPEC, CHAMPION, NOW) == (None, ())


def test_no_profile_of_an_earlier_champion_stays_where_the_new_one_has_no_rows(folders):
    check(folders, table(2, ROWS))
    assert check(folders, table(2, 0)).rows == 0
    assert kept_checks(folders.reports, SPEC.name, DAY, WhylogsProfiler).profile == ()


def test_a_rule_that_cannot_be_checked_breaks_nothing_and_is_named(folders, tmp_path):
    rate = {"column": "pass_rate_7d", "min_value": 0}
    rules = [
        {"type": BETWEEN, "kwargs": rate},
        {"type": BETWEEN, "kwargs": rate | {"row_condition": "failed > 0", "condition_parser": "pandas"}},
        {"type": BETWEEN, "kwargs": {"column": "failure_rate", "min_value": "2020-01-01"}},
    ]
    for name in set(SPEC.data.expectations.values()):
        (tmp_path / name).write_text(json.dumps({"expectations": rules}))
    done = check(replace(folders, expectations=tmp_path), table(2, ROWS))
    suites = len(set(SPEC.data.expectations.values()))
    assert (done.checked, done.broken, len(done.unchecked)) == (suites, (), 2 * suites)
    assert done.unchecked[0].endswith(f"pass_rate_7d: {BETWEEN}, by row_condition")
    assert f"failure_rate: {BETWEEN}: could not be checked: " in done.unchecked[1]


def test_rules_see_the_numbers_that_were_sent(folders, tmp_path):
    """The log has float32: 0.1 is 0.10000000149 there."""
    rules = [{"type": BETWEEN, "kwargs": {"column": "pass_rate_7d", "max_value": 0.1}}]
    for name in set(SPEC.data.expectations.values()):
        (tmp_path / name).write_text(json.dumps({"expectations": rules}))
    folders = replace(folders, expectations=tmp_path)
    kept = check(folders, table(2, ROWS).assign(pass_rate_7d=float(np.float32(0.1))))
    assert kept.broken == ()
    broken = check(folders, table(2, ROWS).assign(pass_rate_7d=float(np.nextafter(np.float32(0.1), 1))))
    assert {rule.share for rule in broken.broken} == {1}


def test_a_client_may_send_any_year(tmp_path):
    never = {"categories": (), "unknown": None, "buckets": None}
    inputs = {"day": InputSpec(type="timestamp", missing="allow", **never)}
    spec = SPEC.model_copy(update={"features": FeatureSpec(source="request", inputs=inputs)})
    days = np.float32([20_000.5, 2_932_532, 2_932_897, -719_162, np.nan]).astype(float)
    sent = live_rows(spec, pd.DataFrame({"day": days}))
    years = [2024, 9999, 9999, 1]
    assert sent["day"].dt.year.tolist()[:4] == years
    assert sent["day"].isna().tolist() == [False] * 4 + [True], "a strange time is no missing one"
    rule = Expectation(type=BETWEEN, kwargs={"column": "day", "max_value": "2100-01-01T00:00:00Z"})
    report = GxValidator().check(Suite(name="times", expectations=(rule,)), sent, tmp_path)
    assert report.failed[0].broken == 2
    WhylogsProfiler().profile(sent, tmp_path / "profile.bin")


def test_no_client_decides_the_check(monkeypatch):
    """A client with nine of ten rows keeps half of those that are checked, spread over the day."""
    policy = SPEC.monitoring.model_copy(update={"window": 40, "client_share": 0.5})
    spec = SPEC.model_copy(update={"monitoring": policy})
    rows = logged(DAY, table(2, ROWS))
    number = np.arange(ROWS)
    rows["client"] = np.where(number % 10, "flood", np.char.add("c", number.astype(str)))
    answers = answers_of(spec, Log(rows), CHAMPION, BEGIN)
    kept = answers.rows[answers.rows["client"] == "flood"]
    assert (answers.count, len(answers.rows), len(kept)) == (ROWS, 120, 60)
    assert (kept["at"].dt.hour // 6).value_counts().between(13, 17).all()
    alone = answers_of(spec, Log(rows.assign(client="one")), CHAMPION, BEGIN)
    assert len(alone.rows) == 20, "as in a window"
    assert len(answers_of(spec, Log(rows.assign(client=None)), CHAMPION, BEGIN).rows) == ROWS
    monkeypatch.setattr("perennial.flows.monitoring.daily.answers.MOST_ROWS", 480)
    flooded = answers_of(spec, Log(rows), CHAMPION, BEGIN)
    assert (flooded.rows["client"] != "flood").sum() == 60, "a flood thins out nobody else"


def test_a_day_with_more_rows_than_fit_is_thinned_evenly(monkeypatch):
    monkeypatch.setattr("perennial.flows.monitoring.daily.answers.MOST_ROWS", 200)
    log = Log(logged(DAY, table(2, ROWS)))
    answers = answers_of(SPEC, log, CHAMPION, BEGIN)
    assert answers.count == ROWS
    assert 80 < len(answers.rows) <= 200
    assert (answers.rows["at"].dt.hour // 6).nunique() == 4
    assert answers.rows["at"].is_monotonic_increasing
    pd.testing.assert_frame_equal(answers.rows, answers_of(SPEC, log, CHAMPION, BEGIN).rows)


def test_requests_that_a_check_has_counted_are_not_read_again(folders):
    """The log here has one day; the counts of the days before are those that their checks kept."""
    done = check(folders, table(2, ROWS))
    assert done.volumes == ()
    assert done.requests is not None
    assert done.requests.parts == (150, 150, 150, 150)
    for number in range(1, 9):
        day = DAY - timedelta(days=number)
        busier = DayRequests(parts=(1500 + number,) * 4, first=1.0)
        kept = done.model_copy(update={"day": day, "requests": busier})
        (folders.reports / "daily" / SPEC.name / f"{day}.json").write_text(kept.model_dump_json())
    again = check(folders, table(2, ROWS))
    assert [volume.days for volume in again.volumes] == [8] * 4
    assert all(volume.is_unusual(2) for volume in again.volumes)


def test_codes_days_and_flags_are_checked_as_they_were_sent():
    never = {"categories": (), "unknown": None, "buckets": None}
    inputs = {
        "project": InputSpec(
            type="category", missing="allow", categories=("flink", "kudu"), unknown="missing"
        ),
        "day": InputSpec(type="timestamp", missing="allow", **never),
        "flag": InputSpec(type="bool", missing="allow", **never),
        "size": InputSpec(type="int", missing="allow", **never),
    }
    spec = SPEC.model_copy(update={"features": FeatureSpec(source="request", inputs=inputs)})
    logged = pd.DataFrame({name: [1.0, np.nan] for name in inputs})
    sent = live_rows(spec, logged)
    assert sent.iloc[0].tolist() == ["kudu", pd.Timestamp("1970-01-02", tz="UTC"), True, 1]
    assert sent.iloc[1].isna().all()
