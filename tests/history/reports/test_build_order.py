"""Which reports are one build, and where a build is in the history."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from perennial.errors import MalformedInput
from perennial.flows.training import ingest
from perennial.history import builds, schema
from perennial.history.store import HistoryStore

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def report(tmp_path):
    def write(path, stamp, name="x", seconds=1) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        cases = "".join(f'<testcase classname="t.a" name="{one}" time="{seconds}"/>' for one in name)
        file.write_text(
            f'<testsuites><testsuite name="s" timestamp="{stamp}">{cases}</testsuite></testsuites>'
        )
        return file

    return write


def read(paths, known=None, **options):
    known = schema.empty() if known is None else known
    return builds.read_builds(paths, known, options.pop("suite", "ci"), now=NOW, **options)


def test_builds_that_overlap_are_ordered_by_their_start(report):
    first = read([report("b1/r.xml", "2025-03-01T10:00:00Z", "xy", 900)]).frame
    second = read([report("b2/r.xml", "2025-03-01T10:10:00Z", "xy", 900)], first)
    assert second.frame["cycle"].tolist() == [2, 2]


def test_the_place_of_a_build_is_that_in_its_own_job(report):
    ci = read([report("b1/r.xml", "2025-03-01T10:00:00Z")]).frame
    earlier = report("b2/r.xml", "2025-02-01T10:00:00Z")
    assert read([earlier], ci, suite="nightly").frame["cycle"].tolist() == [2]
    with pytest.raises(MalformedInput, match="older than the newest cycle of the job"):
        read([earlier], ci, suite="ci")


def test_an_older_build_is_left_out_beside_a_newer_one(report, tmp_path):
    known = read([report("b1/r.xml", "2025-03-01T10:00:00Z")]).frame
    report("b0/r.xml", "2025-02-01T10:00:00Z")
    report("b2/r.xml", "2025-03-02T10:00:00Z")
    got = read([tmp_path], known)
    assert (got.frame["cycle"].tolist(), got.known) == ([2], 1)
    assert "b0/r.xml: the build of 2025-02-01 10:00:00 is older" in got.left_out[0]
    with pytest.raises(MalformedInput, match="is older"):
        read([tmp_path], known, strict=True)


def test_a_newer_report_beside_a_stale_one_is_a_build_of_its_own(report, tmp_path):
    known = read([report("TEST-A.xml", "2025-03-01T10:00:00Z", "a")]).frame
    report("TEST-B.xml", "2025-03-08T10:00:00Z", "b")
    got = read([tmp_path], known)
    assert got.frame[["cycle", "test_id"]].to_numpy().tolist() == [[2, "t.a::b"]]
    known = pd.concat([known, got.frame])
    report("TEST-A.xml", "2025-03-08T10:01:00Z", "a")
    assert read([tmp_path], known).frame["cycle"].tolist() == [2], "beside the report of its build"
    both = read([tmp_path])
    assert both.cycles == 1
    report("TEST-C.xml", "2025-03-01T10:00:00Z", "c")
    assert read([tmp_path]).cycles == 2, "stale at the first import"


@pytest.mark.parametrize(("by", "cycles"), [("path", 1), ("folder", 2), ("file", 2)])
def test_modules_of_a_build(report, tmp_path, by, cycles):
    report("core/target/surefire-reports/TEST-core.xml", "2025-03-01T10:00:00", "a")
    report("web/target/surefire-reports/TEST-web.xml", "2025-03-01T10:02:00", "b")
    got = read([tmp_path], by=by)
    assert (got.cycles, got.frame["test_id"].nunique()) == (cycles, 2)


def test_times_of_another_zone_and_of_the_hour_that_comes_twice(report):
    berlin = ZoneInfo("Europe/Berlin")
    known = read([report("b1/r.xml", "2025-10-26T02:50:00")], zone=berlin).frame
    later = report("b2/r.xml", "2025-10-26T02:10:00")
    assert read([later], known, zone=berlin).frame["started_at"].tolist() == [
        pd.Timestamp("2025-10-26T01:10Z")
    ]
    with pytest.raises(MalformedInput, match="is older") as caught:
        read([later], read([report("b1/r.xml", "2025-10-26T02:50:00")]).frame)
    assert "--timezone" in caught.value.hint


def test_wall_clock_ahead_of_utc_is_no_future_when_the_zone_is_said(report, tmp_path):
    for hour in range(6):
        wall = NOW + timedelta(hours=9 - hour)
        report(f"b{hour}/r.xml", wall.replace(tzinfo=None).isoformat())
    with pytest.raises(MalformedInput, match="in the future") as caught:
        read([tmp_path], strict=True)
    assert "--timezone" in caught.value.hint
    got = read([tmp_path], zone=ZoneInfo("Asia/Tokyo"))
    assert (got.cycles, got.left_out) == (6, ())
    assert got.frame["started_at"].max() == pd.Timestamp(NOW)


def test_one_bad_report_does_not_stop_the_others(report, tmp_path):
    report("b1/r.xml", "2025-03-01T10:00:00Z")
    (tmp_path / "b1/pom.xml").write_text("<project/>")
    (tmp_path / "b1/killed.xml").write_text("<testsuite>\n<testcase")
    got = read([tmp_path])
    assert (got.reports, got.cycles) == (1, 1)
    assert [line.split(": ")[0] for line in got.left_out] == [
        f"{tmp_path}/b1/killed.xml:2",
        f"{tmp_path}/b1/pom.xml:1",
    ]
    with pytest.raises(MalformedInput, match=r"killed\.xml:2"):
        read([tmp_path], strict=True)


def test_a_known_report_is_not_read_again(report, tmp_path):
    known = read([report("b1/r.xml", "2025-03-01T10:00:00Z")], undated="file-time").frame
    got = read([tmp_path], known)
    assert (got.known, got.reports, len(got.frame)) == (1, 0, 0)


def test_imports_at_once_make_a_cycle_each(report, tmp_path):
    store = HistoryStore(tmp_path / "history")
    paths = [report(f"b{number}/r.xml", "2025-03-01T10:00:00Z", f"{number}") for number in range(6)]

    def run(path):
        ingest.junit(store, "ci", [path], "ci", "folder", "error", NOW)

    threads = [threading.Thread(target=run, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.load("ci")["cycle"]) == [1, 2, 3, 4, 5, 6]
