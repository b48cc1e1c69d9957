"""The readers of files: IOF/ROL, and Parquet or CSV of the schema."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from perennial.errors import DatasetMissing, MalformedInput
from perennial.history import files, iofrol
from perennial.history.simulator import SimulationScenario, simulate

HEADER = ";".join(iofrol.HEADER)
LINES = """1;78082;57262;0;2015-02-13 16:13:00;[];1;1
2;78083;5;0;2015-02-13 16:14:00;[1, 0];0;1
3;78082;57262;0;2015-02-14 16:13:00;[1];0;2
"""


@pytest.fixture
def write(tmp_path):
    def file(text, name="data.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return file


def test_iofrol_becomes_the_schema(write):
    frame = iofrol.read(write(f"{HEADER}\n{LINES}"))
    assert frame["execution_id"].tolist() == ["iofrol:1", "iofrol:2", "iofrol:3"]
    assert frame["test_id"].tolist() == ["78082", "78083", "78082"]
    assert frame["verdict"].tolist() == [1, 0, 0]
    assert frame["cycle"].tolist() == [1, 1, 2]
    assert frame["started_at"].iloc[0] == pd.Timestamp("2015-02-13 16:13", tz="UTC")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is not a `;` CSV"),
        ("a;b\n1;2\n", "the header is a;b"),
        (f"{HEADER}\n{LINES}4;1;2;3;2015-02-14 16:13:00;[];0;2;9\n", "is not a `;` CSV"),
        (f"{HEADER}\n{LINES}4;1;2\n", "row 4: cycle is not a number"),
        (f"{HEADER}\n{LINES}4;1;2;3;2015-02-14 16:13:00;[];maybe;2\n", "row 4: verdict is not a number"),
        (f"{HEADER}\n{LINES}3;1;2;3;2015-02-14 16:13:00;[];0;2\n", "row 4: execution_id is there twice"),
    ],
)
def test_broken_iofrol_is_named(write, text, named):
    with pytest.raises(MalformedInput) as caught:
        iofrol.read(write(text))
    assert named in caught.value.message


def test_the_three_file_formats_are_told_apart_by_content(write, tmp_path):
    frame = simulate(SimulationScenario(cycles=3, tests=10))
    frame.to_parquet(tmp_path / "history.anything")
    pd.testing.assert_frame_equal(files.read(tmp_path / "history.anything"), frame)
    frame.to_csv(tmp_path / "history.csv", index=False)
    pd.testing.assert_frame_equal(files.read(tmp_path / "history.csv"), frame)
    assert len(files.read(write(f"{HEADER}\n{LINES}", "ci.csv"))) == 3


@pytest.mark.parametrize(
    ("stamp", "problem"), [("2099-01-01", "in the future"), ("1999-12-31", "before 2000")]
)
def test_implausible_times_are_refused_with_their_row(write, stamp, problem):
    now = datetime(2026, 1, 5, tzinfo=UTC)
    path = write(f"{HEADER}\n{LINES}4;1;5;0;{stamp};[];0;3\n")
    with pytest.raises(MalformedInput, match=f"{path}: row 4: started_at is {problem}"):
        files.read(path, now)
    frame = simulate(SimulationScenario(cycles=1, tests=3))
    frame.assign(started_at=pd.Timestamp(stamp, tz="UTC")).to_csv(path, index=False)
    with pytest.raises(MalformedInput, match=f"{path}: row 1: started_at is {problem}"):
        files.read(path, now)


def test_files_that_are_no_history_are_refused(write, tmp_path):
    with pytest.raises(DatasetMissing, match="no file"):
        files.read(tmp_path / "nowhere.parquet")
    with pytest.raises(MalformedInput, match="is not Parquet"):
        files.read(write("PAR1 and then nothing", "broken.parquet"))
    with pytest.raises(MalformedInput, match="lacks execution_id"):
        files.read(write("a,b\n1,2\n"))


@pytest.mark.skipif("PERENNIAL_DATA_MIRROR" not in os.environ, reason="the real file is in the mirror only")
def test_the_real_file():
    frame = iofrol.read(Path(os.environ["PERENNIAL_DATA_MIRROR"]) / "iofrol/iofrol.csv")
    assert frame["cycle"].max() == 208
    assert 0.2 < frame["verdict"].mean() < 0.4
