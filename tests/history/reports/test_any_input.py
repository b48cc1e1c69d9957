"""Whatever a file holds: a report, or one error that names it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from report_reading import NOW, STAMP, read

from perennial.errors import MalformedInput

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERISH = st.text("0123456789.,:-+eTZPHMS ", max_size=24) | TEXT


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


@settings(max_examples=examples(400))
@given(
    st.binary(max_size=200) | st.binary(max_size=60).map(lambda end: f"<testsuite {STAMP}>".encode() + end)
)
def test_any_bytes(content):
    with tempfile.TemporaryDirectory() as folder:
        try:
            read(Path(folder), content)
        except MalformedInput as error:
            assert "r.xml" in error.message


@settings(max_examples=examples(400))
@given(
    stamp=NUMBERISH,
    time=NUMBERISH,
    name=TEXT,
    classname=TEXT,
    inside=st.sampled_from(
        ["", "<failure/>", "<flakyFailure/>", '<rerunFailure time="x" timestamp="y"/>', "<skipped/>"]
    ),
)
def test_any_values(stamp, time, name, classname, inside):
    case = (
        f'<testcase name="{quoted(name)}" classname="{quoted(classname)}" time="{quoted(time)}" '
        f'timestamp="{quoted(stamp)}">{inside}</testcase>'
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = read(Path(folder), f'<testsuite {STAMP} time="{quoted(time)}">{case * 2}</testsuite>')
        except MalformedInput as error:
            assert "r.xml" in error.message
            return
    for run in report.executions:
        assert run.test_id
        assert run.started_at <= NOW
        assert run.duration_ms >= 0
