"""The prediction log survives what happens to files, and is read fast."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import doubles
import numpy as np
import orjson
import pytest
from doubles.answers import START, answered

from perennial.core.tasks import Multiclass
from perennial.core.tasks.stored import logged_task
from perennial.serving import prediction_log
from perennial.serving.prediction_log import ID_ENTROPY, PredictionLogWriter, new_ids
from perennial.serving.prediction_log_reader import COLUMNS, PredictionLogReader
from perennial.serving.recent_requests import recent


@pytest.fixture
def writer(tmp_path):
    return PredictionLogWriter(tmp_path, "stable", "w1")


def test_nothing_logged_is_an_empty_table_with_the_columns(tmp_path):
    rows = PredictionLogReader(tmp_path).read("m")
    assert list(rows.columns) == list(COLUMNS)
    assert len(rows) == 0


def test_request_values_are_kept_and_requests_by_tensor_have_none(tmp_path, writer):
    writer.append(answered(START, rows=2, context={"cycle_size": 7}))
    writer.append(answered(START, rows=2))
    assert list(PredictionLogReader(tmp_path).read("m")["context"]) == ['{"cycle_size":7}'] * 2 + ["{}"] * 2


def test_a_request_is_timed_once_with_its_size_and_client(tmp_path, writer):
    writer.append(answered(START, rows=3, client="c1", latency_ms=2.5))
    writer.append(answered(START + timedelta(seconds=1), rows=1, entities=[None], shadow=True))
    reader = PredictionLogReader(tmp_path)
    first, second = reader.timings("m", START).to_dict("records")
    assert (first["rows"], first["client"], first["latency_ms"]) == (3, "c1", 2.5)
    assert (first["by_entity"], first["shadow"], first["digest"]) == (True, False, "d" * 64)
    assert (second["by_entity"], second["shadow"], second["client"]) == (False, True, "")
    assert len(reader.timings("m", START + timedelta(milliseconds=1))) == 1
    assert len(reader.timings("m", START + timedelta(days=1))) == 0


def test_more_models_than_open_files_have_a_journal_each(tmp_path, writer, monkeypatch):
    monkeypatch.setattr(prediction_log, "MOST_OPEN", 2)
    at = datetime.now(UTC)
    for _ in range(3):
        for model in ("a", "b", "c", "d"):
            writer.append(answered(at, rows=1, model=model))
    for model in ("a", "b", "c", "d"):
        assert len(PredictionLogReader(tmp_path).read(model)) == 3
        assert len(list((tmp_path / model).iterdir())) == 1
    writer.close()


def test_rows_come_in_order_of_time_over_servers_and_hours(tmp_path, writer):
    other = PredictionLogWriter(tmp_path, "canary", "w2")
    for number in range(4):
        (writer, other)[number % 2].append(answered(START + timedelta(minutes=20 * number), rows=2))
    rows = PredictionLogReader(tmp_path).read("m")
    assert rows["at"].is_monotonic_increasing
    assert list(rows["pool"]) == ["stable", "stable", "canary", "canary"] * 2
    assert rows["prediction_id"].is_unique
    assert len(list((tmp_path / "m").glob("*.jsonl"))) == 4
    later = PredictionLogReader(tmp_path).read("m", since=START + timedelta(minutes=40))
    assert len(later) == 4
    between = START + timedelta(minutes=20), START + timedelta(minutes=60)
    reader = PredictionLogReader(tmp_path)
    assert list(reader.read("m", between[0], until=between[1])["at"] - START) == (
        [timedelta(minutes=20)] * 2 + [timedelta(minutes=40)] * 2
    )
    assert len(reader.timings("m", between[0], until=between[1])) == 2
    assert reader.read("m", until=START).empty


def test_a_reader_sees_what_came_since_it_last_looked(tmp_path, writer):
    reader = PredictionLogReader(tmp_path)
    for number in range(1, 4):
        writer.append(answered(START + timedelta(seconds=number)))
        assert len(reader.read("m")) == number


def test_a_torn_last_line_is_left_out_and_broken_lines_are_kept_aside_and_counted(tmp_path, writer):
    writer.append(answered(START))
    (path,) = (tmp_path / "m").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"at": 17')
    reader = PredictionLogReader(tmp_path)
    assert (len(reader.read("m")), reader.take_broken("m")) == (1, 0)
    first = path.read_bytes().splitlines()[0]
    broken = [b'{"at": 17', b"\xff\x00", b"{}", b"[]", b"7", first[:-3] + b"}"]
    broken += [first.replace(b'"at":', b'"at":9', 1)]
    with path.open("ab") as file:
        file.write(b"\n" + b"\n".join(broken[1:]) + b"\n")
    writer.append(answered(START))
    assert len(reader.read("m")) == 2, "the lines around them are read"
    assert (reader.take_broken("m"), reader.take_broken("m")) == (len(broken), 0)
    assert sorted(file.read_bytes().rstrip(b"\n") for file in (tmp_path / "aside").iterdir()) == sorted(
        broken
    )
    (tmp_path / "m" / "notes.jsonl").write_text("not a segment")
    assert (len(reader.read("m")), reader.take_broken("m")) == (2, 1)
    assert (len(reader.read("m")), reader.take_broken("m")) == (2, 0)


def test_missing_values_and_other_features_are_nan(tmp_path, writer):
    missing = np.array([[np.nan, 2.0]], dtype=np.float32)
    writer.append(answered(START, features=missing))
    writer.append(answered(START + timedelta(seconds=1), names=("b", "c")))
    rows = PredictionLogReader(tmp_path).read("m")
    assert np.isnan(rows["feature:a"].to_numpy()).all()
    assert list(rows["feature:b"]) == [2.0, 0.5]
    assert rows["feature:c"].isna().tolist() == [True, False]
    assert rows["names"].tolist() == ['["a","b"]', '["b","c"]'], "a value not known, or no such feature"


def test_every_answered_request_survives_a_kill(tmp_path):
    """The child says each id after it logged it, and is killed in the middle."""
    program = f"""
import sys
sys.path.insert(0, {os.path.dirname(os.path.dirname(doubles.__file__))!r})
from datetime import UTC, datetime
from doubles.answers import answered
from perennial.serving import prediction_log
from perennial.serving.prediction_log import ID_ENTROPY, PredictionLogWriter, new_ids
from pathlib import Path
log = PredictionLogWriter(Path({str(tmp_path)!r}), "stable", "killed")
while True:
    request = answered(datetime.now(UTC))
    log.append(request)
    print(request.ids[0], flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    said = [child.stdout.readline().strip() for _ in range(500)]
    os.kill(child.pid, signal.SIGKILL)
    said += child.communicate()[0].split()
    logged = set(PredictionLogReader(tmp_path).read("m")["prediction_id"])
    assert {line for line in said if len(line) == 32} <= logged


def test_200_000_rows_are_read_in_seconds(tmp_path, writer):
    for number in range(2000):
        writer.append(answered(START + timedelta(milliseconds=number), rows=100, names=tuple("abcdefgh")))
    reader = PredictionLogReader(tmp_path)
    started = time.process_time()
    assert len(reader.read("m")) == 200_000
    first = time.process_time() - started
    started = time.process_time()
    reader.read("m", since=START + timedelta(milliseconds=1900))
    again = time.process_time() - started
    assert first < 20
    assert again < first


def test_each_prediction_says_its_task_and_one_from_before_is_read_too(tmp_path, writer):
    flowers = Multiclass(classes=("a", "b"))
    shares = np.array([[0.3, 0.7]], dtype=np.float32)
    writer.append(answered(START, task=flowers, probabilities=shares, decisions=[1]))
    (path,) = (tmp_path / "m").glob("*.jsonl")
    line = orjson.loads(path.read_bytes())
    assert line["probabilities"] == [pytest.approx([0.3, 0.7])]
    before = {name: value for name, value in line.items() if name not in ("task", "probabilities")}
    with path.open("ab") as file:
        file.write(orjson.dumps(before) + b"\n")
    rows = PredictionLogReader(tmp_path).read("m")
    assert [logged_task(text).kind for text in rows["task"]] == ["multiclass", "ranking"]


def test_requests_of_many_rows_are_read_to_the_last_digit_and_broken_ones_are_broken(tmp_path, writer):
    features = np.random.default_rng(3).random((50, 2)).astype(np.float32)
    features[0, 0] = np.nan
    writer.append(answered(START, rows=50, features=features[::-1]))
    rows = PredictionLogReader(tmp_path).read("m")
    read = rows[["feature:a", "feature:b"]].to_numpy()
    assert np.array_equal(read, features[::-1].astype(float), equal_nan=True)
    assert recent(tmp_path, "m", 1)[0]["entities"] == [{"test_id": "t"}]
    (path,) = (tmp_path / "m").glob("*.jsonl")
    line = orjson.loads(path.read_bytes())
    for features in (line["features"][:-8], "no base64", "", 7):
        with path.open("ab") as file:
            file.write(orjson.dumps({**line, "features": features}) + b"\n")
    reader = PredictionLogReader(tmp_path)
    assert (len(reader.read("m")), reader.take_broken("m")) == (50, 4)


@pytest.mark.parametrize("count", [1, 2, 64])
def test_ids_are_the_time_and_each_its_own_random_bytes(count):
    at, entropy = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), os.urandom(ID_ENTROPY * count)
    ids = new_ids(count, at, entropy)
    assert {int(name[:12], 16) for name in ids} == {int(at.timestamp() * 1000)}
    assert [bytes.fromhex(name[12:]) for name in ids] == [
        entropy[n : n + 10] for n in range(0, len(entropy), 10)
    ]
