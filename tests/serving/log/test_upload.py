"""Sealed segments in object storage: readers see one log, and nothing is removed before another copy is sure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pandas as pd
import pytest
from doubles.answers import answered
from uploading.days import BUCKET, NOW, START, assert_same, days_here, everything, keys

from perennial import catalog
from perennial.adapters.file_scan import connect
from perennial.cli import main
from perennial.errors import ChecksumMismatch, ToolError, UsageError
from perennial.serving.log import sealed
from perennial.serving.log import upload as uploads
from perennial.serving.log.upload import SegmentUpload
from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader

pytestmark = pytest.mark.server


def test_readers_see_local_and_uploaded_segments_as_one_log(log, s3):
    before = everything(log)
    done = SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    assert (done.uploaded, done.removed_here, done.elsewhere) == (9, 6, 6)
    assert len(keys(s3)) == 9
    assert days_here(log) == 4  # three days, and today
    assert_same(everything(log), before)
    again = SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    assert (again.uploaded, again.removed_here, again.pruned, again.elsewhere) == (0, 0, 0, 6)


def test_duckdb_reads_both_sides(log):
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    places = [
        f"{log}/*/day=*/*.parquet",
        *(f"{BUCKET}/m/day=2026-03-0{day}/*.parquet" for day in range(1, 7)),
    ]
    with connect(BUCKET) as database:
        rows = database.read_parquet(places, union_by_name=True)
        counted = rows.aggregate("count(*), count(DISTINCT prediction_id)")
        assert counted.fetchall() == [(60 - 3, 60 - 3)]  # the last hour is a journal


@pytest.mark.parametrize("step", ["put_file", "rm_file", "open", "unlink", "index"])
def test_a_killed_pass_loses_nothing_and_is_repeated(log, s3, monkeypatch, step):
    """Stopped at the second use of each step that changes something."""
    before = everything(log)
    SegmentUpload(log, BUCKET, None).run("m", NOW, None)
    late = PredictionLogWriter(log, "stable", "late")  # of a day that is merged and uploaded
    with uploads.storage(BUCKET) as opened:
        files = opened  # fsspec gives every caller this one
    for day in range(3):
        late.append(answered(START + timedelta(days=day, hours=1)))
    late.close()
    expected_rows = 63
    PredictionArchive(log).tidy("m", NOW, None)

    class Stopped(BaseException):
        pass

    uses = []

    def stopping(whole):
        def used(*given, **named):
            uses.append(given)
            if len(uses) == 2:
                raise Stopped
            return whole(*given, **named)

        return used

    with monkeypatch.context() as patch:
        if step == "unlink":
            patch.setattr(type(log), "unlink", stopping(type(log).unlink))
        elif step == "index":
            patch.setattr(uploads, "write_index", stopping(uploads.write_index))
        else:
            patch.setattr(files, step, stopping(getattr(files, step)))
        with pytest.raises(Stopped):
            SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    assert len(PredictionLogReader(log).read("m")) == expected_rows
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    read = PredictionLogReader(log).read("m")
    assert len(read) == read["prediction_id"].nunique() == expected_rows
    assert set(before[0][0]["prediction_id"]) <= set(read["prediction_id"])
    assert len(keys(s3)) == 9, "what a merged segment replaces is removed"


def test_retention_holds_on_both_sides(log, s3):
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    keep = timedelta(days=5)
    PredictionArchive(log).tidy("m", NOW, keep)
    assert SegmentUpload(log, BUCKET, 3).run("m", NOW, keep).pruned == 4
    assert min(keys(s3)) == next(key for key in keys(s3) if "day=2026-03-05" in key)
    first = PredictionLogReader(log).read("m")["at"].min()
    assert first == pd.Timestamp("2026-03-05 10:00", tz="UTC")


def test_a_changed_object_keeps_the_local_file(log, s3):
    SegmentUpload(log, BUCKET, None).run("m", NOW, None)
    key = min(keys(s3))
    head = s3.head_object(Bucket="logs", Key=key)
    s3.put_object(Bucket="logs", Key=key, Body=b"x" * head["ContentLength"], Metadata=head["Metadata"])
    with pytest.raises(ChecksumMismatch):
        SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    assert days_here(log) == 10
    assert len(everything(log)[1]) == 60


def test_an_object_that_is_gone_is_an_error_and_no_smaller_log(log, s3):
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    s3.delete_object(Bucket="logs", Key=min(keys(s3)))
    with pytest.raises(ToolError, match="is gone"):
        PredictionLogReader(log).read("m")
    assert len(PredictionLogReader(log).read("m", NOW - timedelta(days=2))) > 0  # it is not needed for them


def test_a_lost_index_is_made_anew(log, s3):
    before = everything(log)
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    (log / "m" / "uploaded.json").unlink()
    assert SegmentUpload(log, BUCKET, 3).run("m", NOW, None).elsewhere == 6
    assert_same(everything(log), before)


def test_another_bucket_a_missing_one_and_none_are_refused(log, s3, monkeypatch, capsys):
    with pytest.raises(ToolError, match="s3://nowhere"):
        SegmentUpload(log, "s3://nowhere", 3).run("m", NOW, None)
    assert days_here(log) == 10
    SegmentUpload(log, BUCKET, 3).run("m", NOW, None)
    with pytest.raises(UsageError, match="not in s3://logs/other"):
        SegmentUpload(log, "s3://logs/other", 3).run("m", NOW, None)
    assert main(["predictions", "upload", "test_failure_predictor"]) == 11
    assert "PERENNIAL_LOG_BUCKET is not set" in capsys.readouterr().err
    monkeypatch.setenv("PERENNIAL_LOG_BUCKET", "s3://me:secret@logs")
    assert main(["predictions", "upload", "test_failure_predictor"]) == 11


def test_the_command_uploads_as_the_settings_say(tmp_path, s3, monkeypatch, capsys):
    s3.create_bucket(Bucket="logs")
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_LOG_BUCKET", BUCKET)
    monkeypatch.setenv("PERENNIAL_LOG_LOCAL_DAYS", "1")
    spec = SimpleNamespace(retention=SimpleNamespace(predictions=None))
    monkeypatch.setattr(catalog, "spec", lambda *given: spec)
    log = tmp_path / "serving" / "log"
    writer = PredictionLogWriter(log, "stable", "w")
    writer.append(answered(datetime.now(UTC) - timedelta(days=4)))
    writer.close()
    assert main(["predictions", "seal", "m"]) == 0
    assert main(["predictions", "upload", "m", "--json"]) == 0
    done = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert (done["uploaded"], done["removed_here"], done["elsewhere"]) == (1, 1, 1)
    assert not list(log.rglob("*.parquet"))
    assert len(PredictionLogReader(log).read("m")) == 1
    assert sealed.segments(log, "m")[0] == []
