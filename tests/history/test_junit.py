"""JUnit XML of three dialects, what is not JUnit, and how builds become cycles."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from perennial.errors import DatasetMissing, MalformedInput
from perennial.history import builds, schema
from perennial.history.reports import reader
from perennial.history.reports.report import ReadOptions

PYTEST = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4"
 timestamp="2025-03-01T10:00:00.500000+01:00" hostname="h">
<testcase classname="tests.core.test_a" name="test_ok" time="1.5" />
<testcase classname="tests.core.test_a" name="test_bad[1-x]" time="0.25"><failure message="m">t</failure></testcase>
<testcase classname="tests.core.test_b.TestB" name="test_err" time="0"><error message="m">t</error></testcase>
<testcase classname="tests.core.test_b.TestB" name="test_skip" time="0"><skipped message="m" /></testcase>
</testsuite></testsuites>"""

SUREFIRE = """<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.acme.PayTest" time="1,002.5" tests="4" timestamp="2025-03-01T10:00:00">
<properties><property name="java.version" value="21"/></properties>
<testcase name="pays" classname="com.acme.PayTest" time="1,000.5"/>
<testcase name="flaky" classname="com.acme.PayTest" time="1">
<flakyFailure message="m"/><flakyError message="m"/></testcase>
<testcase name="red" classname="com.acme.PayTest" time="1"><failure message="m"/><rerunFailure message="m"/></testcase>
<testcase name="off" classname="com.acme.PayTest" time="0"><skipped/></testcase>
</testsuite>"""

JEST = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="2" time="2.1">
<testsuite name="cart" timestamp="2025-03-01T10:00:00" tests="1" time="1">
<testcase classname="cart adds" name="cart adds" time="0.004"></testcase></testsuite>
<testsuite name="till" timestamp="2025-03-01T10:05:00" tests="1" time="1">
<testcase classname="till sums" name="till sums" time="0.01"><failure>no</failure></testcase></testsuite>
</testsuites>"""


@pytest.fixture
def write(tmp_path):
    def file(name, text) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def read(path, now=None, strict=False):
    return reader.read(path, ReadOptions(now or datetime.now(UTC), strict=strict))


def told(report):
    return [(one.test_id, one.area, one.duration_ms, one.failed) for one in report.executions]


def test_pytest(write):
    report = read(write("r.xml", PYTEST))
    assert told(report) == [
        ("tests.core.test_a::test_ok", "tests.core", 1500, False),
        ("tests.core.test_a::test_bad[1-x]", "tests.core", 250, True),
        ("tests.core.test_b.TestB::test_err", "tests.core.test_b", 0, True),
    ]
    assert report.skipped == 1
    starts = [one.started_at for one in report.executions]
    assert starts[0] == datetime(2025, 3, 1, 9, 0, 0, 500000, tzinfo=UTC)
    assert [(start - starts[0]).total_seconds() for start in starts] == [0, 1.5, 1.75]


def test_surefire_reruns_are_retries(write):
    report = read(write("r.xml", SUREFIRE))
    assert told(report) == [
        ("com.acme.PayTest::pays", "com.acme", 1_000_500, False),
        *[("com.acme.PayTest::flaky", "com.acme", 1000, failed) for failed in (True, True, False)],
        *[("com.acme.PayTest::red", "com.acme", 1000, True)] * 2,
    ]
    assert report.skipped == 1


def test_jest(write):
    report = read(write("r.xml", JEST))
    assert told(report) == [("cart adds", "cart", 4, False), ("till sums", "till", 10, True)]
    assert [one.started_at.minute for one in report.executions] == [0, 5]


CASE = '<testcase name="a" classname="b" time="1"/>'


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("<testsuites>\n<testsuite", 2, "not well-formed XML"),
        ("", 1, "not well-formed XML"),
        ("<html/>", 1, "the root is <html>"),
        (f"<testsuite>\n{CASE}</testsuite>", 2, "timestamp"),
        (f'<testsuite\n timestamp="soon">{CASE}</testsuite>', 1, "timestamp is 'soon'"),
        ('<testsuite timestamp="2025-01-01">\n\n<testcase time="1"/></testsuite>', 3, "has no name"),
        ('<testsuite timestamp="2025-01-01">\n<testcase name="a" time="1s"/></testsuite>', 2, "time is '1s'"),
        ('<testsuite timestamp="2025-01-01">\n<testcase name="a" time="-1"/></testsuite>', 2, "time is '-1'"),
        (
            '<testsuite timestamp="2025-01-01">\n<testcase name="a" time="nan"/></testsuite>',
            2,
            "time is 'nan'",
        ),
        ('<!DOCTYPE x [<!ENTITY a "b">]><testsuite/>', None, "refused"),
    ],
)
def test_what_is_no_report_is_named_with_its_line(write, text, line, named):
    path = write("broken.xml", text)
    with pytest.raises(MalformedInput) as caught:
        read(path, strict=True)
    assert named in caught.value.message
    assert caught.value.message.startswith(f"{path}:{line}:" if line else str(path))


NOW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        (
            f'<testsuites>\n<testsuite timestamp="2099-01-01">{CASE}</testsuite></testsuites>',
            2,
            "in the future",
        ),
        (f'<testsuite timestamp="2025-06-01T00:16:00Z">{CASE}</testsuite>', 1, "in the future"),
        (f'<testsuite timestamp="1999-12-31">{CASE}</testsuite>', 1, "before 2000-01-01"),
        (f'<testsuite timestamp="0001-01-01T00:00:00+14:00">{CASE}</testsuite>', 1, "not ISO 8601"),
        (f'<testsuite timestamp="9999-12-31T23:59:59-14:00">{CASE}</testsuite>', 1, "not ISO 8601"),
        (
            '<testsuite timestamp="2025-05-31"><testcase name="a" time="640000"/>\n'
            '<testcase name="b" time="90000"/></testsuite>',
            2,
            "add up to an end in the future",
        ),
        (f"{'<testsuite>' * 3000}{CASE}{'</testsuite>' * 3000}", 1, "suites inside each other"),
        (
            f'<testsuite timestamp="2025-01-01"><testcase name="a" time="0"><failure/>{"<rerunFailure/>" * 100_000}'
            "</testcase></testsuite>",
            1,
            "more than 100000 executions",
        ),
    ],
    ids=["future", "skew", "past", "lowest", "highest", "sum", "nested", "many"],
)
def test_implausible_times_and_sizes_are_named_with_their_line(write, text, line, named):
    path = write("bad.xml", text)
    with pytest.raises(MalformedInput) as caught:
        read(path, now=NOW, strict=True)
    assert named in caught.value.message
    assert caught.value.message.startswith(f"{path}:{line}:")


def test_a_clock_may_be_a_little_ahead(write):
    path = write("r.xml", f'<testsuite timestamp="2025-06-01T00:14:00Z">{CASE}</testsuite>')
    assert len(read(path, now=NOW).executions) == 1


def test_one_name_in_two_spellings_is_one_test(write):
    cases = "".join(
        f'<testcase classname="t" name="gr{oe}\u00dfe" time="1"/>' for oe in ("\u00f6", "o\u0308")
    )
    report = read(write("r.xml", f'<testsuite timestamp="2025-03-01">{cases}</testsuite>'))
    assert len({execution.test_id for execution in report.executions}) == 1


def build(day, verdicts, name="suite"):
    cases = "".join(
        f'<testcase classname="{name}" name="t{number}" time="1">{"<failure/>" * bad}</testcase>'
        for number, bad in enumerate(verdicts)
    )
    return f'<testsuite name="{name}" timestamp="2025-01-{day:02d}T08:00:00">{cases}</testsuite>'


def test_builds_become_cycles_in_the_order_of_time(write, tmp_path):
    write("b/later.xml", build(2, [0, 1]))
    write("a/latest.xml", build(3, [1]))
    write("c/first.xml", build(1, [0], "one"))
    write("c/same-build.xml", build(1, [1], "two"))
    read = builds.read_builds([tmp_path], schema.empty(), "ci")
    assert (read.reports, read.cycles, read.known) == (4, 3, 0)
    assert read.frame.groupby("cycle")["verdict"].apply(list).to_dict() == {1: [0, 1], 2: [0, 1], 3: [1]}


def test_again_adds_nothing_and_new_builds_continue(write, tmp_path):
    write("1/r.xml", build(1, [0]))
    first = builds.read_builds([tmp_path], schema.empty(), "ci").frame
    write("2/r.xml", build(2, [1]))
    second = builds.read_builds([tmp_path], first, "ci")
    assert (second.reports, second.known) == (1, 1)
    assert second.frame["cycle"].tolist() == [2]
    known = pd.concat([first, second.frame])
    assert builds.read_builds([tmp_path], known, "ci").frame.empty
    write("2/late.xml", build(2, [0], "late"))
    assert builds.read_builds([tmp_path], known, "ci").frame["cycle"].tolist() == [2], "beside its build"


def test_each_file_may_be_a_build(write, tmp_path):
    write("1.xml", build(1, [0]))
    write("2.xml", build(2, [0]))
    assert builds.read_builds([tmp_path], schema.empty(), "ci", by="file").cycles == 2
    assert builds.read_builds([tmp_path], schema.empty(), "ci", by="folder").cycles == 1


def test_a_build_older_than_the_history_is_refused(write, tmp_path):
    newer = builds.read_builds([write("2/r.xml", build(2, [0]))], schema.empty(), "ci").frame
    with pytest.raises(MalformedInput, match="older than the newest cycle"):
        builds.read_builds([write("1/r.xml", build(1, [0]))], newer, "ci")


def test_an_undated_report_may_take_the_time_of_its_file(write):
    path = write("r.xml", f"<testsuite>{CASE}</testsuite>")
    read = builds.read_builds([path], schema.empty(), "ci", undated="file-time")
    assert abs((datetime.now(UTC) - read.frame["started_at"].iloc[0]).total_seconds()) < 60


def test_nothing_there_is_said(tmp_path):
    for path in (tmp_path / "nowhere.xml", tmp_path):
        with pytest.raises(DatasetMissing, match="no JUnit XML"):
            builds.read_builds([path], schema.empty(), "ci")
