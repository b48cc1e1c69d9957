"""Whatever a file holds: a report, or one error that names it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from report_reading import NOW, STAMP, read

from perennial.errors import MalformedInput
from perennial.history.reports.report import Report

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERISH = st.text("0123456789.,:-+eTZPHMS ", max_size=24) | TEXT
INSIDE = ["", "<failure/>", "<flakyFailure/>", '<rerunFailure time="x" timestamp="y"/>', "<skipped/>"]


def quoted(text: str) -> str:
    for character, reference in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ('"', "&quot;"),
        ("\n", "&#10;"),
        ("\r", "&#13;"),
    ):
        text = text.replace(character, reference)
    return text


def report_of(content: str | bytes) -> Report | None:
    """Read a report; None for the error that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return read(Path(folder), content)
        except MalformedInput as error:
            if "r.xml" not in error.message:
                raise
            return None


@settings(max_examples=examples(400))
@given(
    st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: f"<testsuite {STAMP}>".encode() + end)
)
def test_any_bytes(content):
    report = report_of(content)
    assert report is None or report.executions == ()


@settings(max_examples=examples(400))
@given(stamp=NUMBERISH, time=NUMBERISH, name=TEXT, classname=TEXT, inside=st.sampled_from(INSIDE))
def test_any_values(stamp, time, name, classname, inside):
    case = (
        f'<testcase name="{quoted(name)}" classname="{quoted(classname)}" time="{quoted(time)}" '
        f'timestamp="{quoted(stamp)}">{inside}</testcase>'
    )
    report = report_of(f'<testsuite {STAMP} time="{quoted(time)}">{case * 2}</testsuite>')
    for run in report.executions if report else ():
        assert run.test_id
        assert run.started_at <= NOW
        assert run.duration_ms >= 0
