"""Sealed segments of the prediction log: smaller files, the same predictions."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pytest
from doubles.answers import START, answered

from perennial.core.tasks import Multiclass
from perennial.serving import prediction_archive as archives
from perennial.serving import recent_requests
from perennial.serving.assignment import Assigned
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.log import sealed
from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.serving.recent_requests import recent

LATER = START + timedelta(days=2)


@pytest.fixture
def written(tmp_path):
    """Requests of every kind by two servers in three hours of a day and in one of the next."""
    random = np.random.default_rng(0)
    logs = [PredictionLogWriter(tmp_path, pool, pool) for pool in ("stable", "canary")]
    flowers = Multiclass(classes=("a", "b"))
    for number in range(60):
        at = START + timedelta(minutes=2 * number, microseconds=number * 7001)
        features = random.random((3, 2)).astype(np.float32)
        features[0, 0] = np.nan
        logs[number % 2].append(answered(at, rows=3, features=features, context={"n": number}, client="c"))
    shares = np.array([[0.3, 0.7]], dtype=np.float32)
    logs[0].append(
        answered(at, task=flowers, probabilities=shares, entities=[None], shadow=True, release_id=None)
    )
    logs[1].append(answered(at + timedelta(days=1), names=("b", "c"), assigned=Assigned("x", "1.1.0", "u")))
    for log in logs:
        log.close()
    return tmp_path


def files(folder) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in (".parquet", ".jsonl")
    )


def test_readers_see_the_same_predictions_before_and_after(written):
    reader = PredictionLogReader(written)
    middle, until = START + timedelta(minutes=41), START + timedelta(minutes=79)
    before = (
        reader.read("m"),
        reader.read("m", middle),
        reader.timings("m", START),
        reader.timings("m", middle),
        reader.read("m", middle, until=until),
        reader.timings("m", middle, until=until),
    )
    assert [len(frame) for frame in before[4:]] == [57, 19]
    done = PredictionArchive(written).tidy("m", LATER, None)
    assert done.journals == 7
    assert all(name.endswith(".parquet") for name in files(written))
    for again in (reader, PredictionLogReader(written)):
        after = (
            again.read("m"),
            again.read("m", middle),
            again.timings("m", START),
            again.timings("m", middle),
            again.read("m", middle, until=until),
            again.timings("m", middle, until=until),
        )
        for old, new in zip(before, after, strict=True):
            pd.testing.assert_frame_equal(ordered(new)[list(old.columns)], ordered(old))


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Requests of one moment have no order among them."""
    key = "prediction_id" if "prediction_id" in frame else "request_id"
    return frame.sort_values(["at", key, "rows" if "rows" in frame else "score"], ignore_index=True)


def test_hours_that_go_on_stay_journals_and_days_that_go_on_are_not_merged(written):
    archive = PredictionArchive(written)
    assert archive.tidy("m", START + timedelta(minutes=35), None).journals == 0, "the hour has just ended"
    done = archive.tidy("m", START + timedelta(minutes=45), None)
    assert (done.journals, done.merged) == (2, 0)
    assert len([name for name in files(written) if name.endswith(".jsonl")]) == 5
    rows = len(PredictionLogReader(written).read("m"))
    assert rows == 182
    assert archive.tidy("m", LATER, None).merged == 6
    assert len(files(written)) == 2, "one segment of each day"
    assert archive.tidy("m", LATER, None) == archives.Sealed(0, 0, 0, 0, 0, 0)
    assert len(PredictionLogReader(written).read("m")) == rows


@pytest.mark.parametrize("kept", ["journals", "segments"])
def test_a_pass_killed_before_it_deletes_shows_no_prediction_twice(written, monkeypatch, kept):
    """All that the pass would have deleted is still there when it ends, as after a kill."""
    before = PredictionLogReader(written).read("m")
    if kept == "segments":
        PredictionArchive(written).tidy("m", START + timedelta(hours=12), None)
    with monkeypatch.context() as killed:
        killed.setattr(archives.Path, "unlink", lambda path, **_: None)
        PredictionArchive(written).tidy("m", LATER, None)
    assert len(files(written)) > 5
    reader = PredictionLogReader(written)
    assert sorted(reader.read("m")["prediction_id"]) == sorted(before["prediction_id"])
    PredictionArchive(written).tidy("m", LATER, None)
    assert len(files(written)) == 2
    assert sorted(reader.read("m")["prediction_id"]) == sorted(before["prediction_id"])


def test_predictions_are_deleted_when_their_retention_is_over(written):
    done = PredictionArchive(written).tidy("m", LATER, timedelta(days=1))
    assert done.pruned == 1
    assert set(PredictionLogReader(written).read("m")["experiment"]) == {"x"}
    assert PredictionArchive(written).tidy("m", LATER, timedelta(days=90)).pruned == 0


def test_labels_find_sealed_predictions_and_not_mirrored_ones(written):
    rows = PredictionLogReader(written).read("m")
    before = AnsweredPredictions(written).tasks(list(rows["prediction_id"]))
    PredictionArchive(written).tidy("m", LATER, None)
    answers = AnsweredPredictions(written)
    assert answers.tasks(list(rows["prediction_id"])) == before
    assert set(answers.models(list(rows["prediction_id"])).values()) == {"m"}
    assert len(before) == len(rows) - 1, "all but the mirrored one"
    assert answers.models(["0" * 32, "f" * 32, "no id"]) == {}


def test_the_newest_requests_are_found_in_segments(written):
    before = recent(written, "m", 3)
    assert before
    PredictionArchive(written).tidy("m", LATER, None)
    assert recent(written, "m", 3) == before


def test_duckdb_reads_the_segments_of_all_models_by_day(written):
    PredictionArchive(written).tidy("m", LATER, None)
    pattern = str(written / "*" / "day=*" / "*.parquet")
    logged = duckdb.read_parquet(pattern, union_by_name=True, hive_partitioning=True)
    counted = duckdb.sql(
        "SELECT model, CAST(day AS TEXT) AS day, count(*) FROM logged GROUP BY ALL ORDER BY 2"
    )
    assert counted.fetchall() == [("m", "2026-03-01", 181), ("m", "2026-03-02", 1)]
    query = 'SELECT count("feature:a"), count("feature:c"), max(score) FROM logged'
    assert duckdb.sql(query).fetchall() == [(121, 1, pytest.approx(0.7))]
    assert logged.count("*").fetchall() == [(182,)]


def test_broken_lines_are_kept_aside_and_a_torn_last_line_is_left_out(written):
    (path, *_) = sorted((written / "m").glob("*.jsonl"))
    rows = len(PredictionLogReader(written).read("m"))
    with path.open("ab") as file:
        file.write(b'{"at": 1}\n{"at": 17')
    done = PredictionArchive(written).tidy("m", LATER, None)
    assert done.broken == 1
    assert [line.read_bytes() for line in (written / "aside").iterdir()] == [b'{"at": 1}\n']
    assert len(PredictionLogReader(written).read("m")) == rows


def test_a_full_journal_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr("perennial.serving.prediction_log.JOURNAL_BYTES", 2000)
    log = PredictionLogWriter(tmp_path, "stable", "w")
    for number in range(20):
        log.append(answered(START + timedelta(seconds=number), rows=3))
    assert len(files(tmp_path)) > 3
    assert len(PredictionLogReader(tmp_path).read("m")) == 60
    columns = len(sealed.SCHEMA) + 2
    monkeypatch.setattr(archives, "MOST_VALUES", 25 * columns)
    PredictionArchive(tmp_path).tidy("m", LATER, None)
    assert len(files(tmp_path)) == 3, "merged into segments of a limited size"
    assert PredictionLogReader(tmp_path).read("m")["prediction_id"].is_unique
    assert len(PredictionLogReader(tmp_path).read("m")) == 60


def test_segments_of_many_features_are_merged_into_fewer_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_VALUES", 3 * 1023)
    for width, server in ((1000, "wide"), (1, "narrow")):
        names = tuple(f"embedding[{place}]" for place in range(width))
        for number in range(6):
            log = PredictionLogWriter(tmp_path, "stable", f"{server}{number}")
            log.append(answered(START, names=names, features=np.zeros((1, width), dtype=np.float32)))
            log.close()
    PredictionArchive(tmp_path).tidy("m", LATER, None)
    sizes = [sealed.shape_of(path) for path in tmp_path.rglob("*.parquet")]
    assert sum(rows for rows, _ in sizes) == 12
    assert max(rows for rows, _ in sizes) > 1
    assert max(rows * columns for rows, columns in sizes) <= archives.MOST_VALUES


def test_a_server_that_was_stopped_for_hours_logs_what_it_then_answers(tmp_path):
    """Its journal was sealed and deleted meanwhile."""
    log = PredictionLogWriter(tmp_path, "stable", "w")
    for known in range(1, 4):
        log.append(answered(START))
        assert len(PredictionLogReader(tmp_path).read("m")) == known
        PredictionArchive(tmp_path).tidy("m", LATER, None)
    log.close()
    assert len(PredictionLogReader(tmp_path).read("m")) == 3


@pytest.mark.parametrize("first", ["seal", "merge"])
def test_files_that_a_pass_deletes_meanwhile_hide_nothing_from_labels_and_rollbacks(
    written, monkeypatch, first
):
    ids = list(PredictionLogReader(written).read("m")["prediction_id"])
    known = AnsweredPredictions(written).models(ids)
    if first == "merge":
        PredictionArchive(written).tidy("m", START + timedelta(hours=12), None)
        place, name = sealed, "find"
    else:
        place, name = recent_requests, "_tail"
    requests = recent(written, "m", 3)
    plain = getattr(place, name)

    def tidied_first(path, *given):
        PredictionArchive(written).tidy("m", LATER, None)
        return plain(path, *given)

    monkeypatch.setattr(place, name, tidied_first)
    assert recent(written, "m", 3) == requests
    assert AnsweredPredictions(written).models(ids) == known


def test_a_million_rows_take_a_fraction_of_the_journals(tmp_path):
    random = np.random.default_rng(1)
    log = PredictionLogWriter(tmp_path, "stable", "w")
    names = tuple(f"f{number}" for number in range(17))
    for number in range(3000):
        features = random.integers(0, 500, (1, 17)).astype(np.float32) / 100
        scores = random.random(1).astype(np.float32)
        at = START + timedelta(milliseconds=number)
        log.append(
            answered(at, names=names, features=features, scores=scores, request_id=os.urandom(16).hex())
        )
    done = PredictionArchive(tmp_path).tidy("m", LATER, None)
    assert done.after_bytes < done.before_bytes / 3


def test_a_folder_that_is_no_day_is_left_alone(written):
    stranger = written / "m" / "day=today" / "x.parquet"
    stranger.parent.mkdir()
    stranger.write_bytes(b"not Parquet")
    assert PredictionArchive(written).tidy("m", LATER, timedelta(days=1)).journals == 7
    assert stranger.exists()
    assert sealed.day_of(SimpleNamespace(parent=stranger.parent)) is None
