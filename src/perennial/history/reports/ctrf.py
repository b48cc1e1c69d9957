"""CTRF, the Common Test Report Format: JSON with `results.tests`; durations in ms, times since 1970.

`retries` are failed runs before the reported run.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

from perennial.errors import MalformedInput
from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.report import wrong

REPORT_BYTES = 64 * 1024 * 1024
"""JSON is read as a whole."""
RETRIES = 1000
"""Most retries of a test."""


def read(path: Path, recorder: Recorder) -> None:
    """Read the executions of a report.

    Raises:
        MalformedInput: it is no CTRF, or too large.
    """
    if path.stat().st_size > REPORT_BYTES:
        raise MalformedInput(f"{path}: larger than {REPORT_BYTES} bytes", hint="split the report")
    try:
        report = json.loads(path.read_text(encoding="utf-8-sig"))
        tests = report["results"]["tests"]
        summary = report["results"].get("summary") or {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise wrong(path, getattr(error, "lineno", 1), f"JSON that is no CTRF: {error!r}") from error
    if not isinstance(tests, list):
        raise wrong(path, 1, "results.tests is no list")
    clock = Clock(recorder.moment(1, _text(summary, "start"), "results.summary.start"))
    for number, test in enumerate(tests):
        # JSON has no lines: the place is the number of the test.
        if isinstance(test, dict):
            _test(test, f"results.tests[{number}]", recorder, clock)
        else:
            recorder.problem(1, f"results.tests[{number}] is no object")


def _test(test: dict[str, Any], place: str, recorder: Recorder, clock: Clock) -> None:
    status = _text(test, "status").lower()
    name, file = _text(test, "name"), _text(test, "filePath")
    suite = test.get("suite")
    suites = suite if isinstance(suite, list) else [suite] if suite else []
    if not name:
        recorder.problem(1, f"{place} has no name")
        return
    if status not in ("passed", "failed"):
        recorder.skipped += 1
        return
    took, retries = test.get("duration", 0), test.get("retries") or int(test.get("flaky") is True)
    if isinstance(took, bool) or not isinstance(took, int | float) or not 0 <= took < 1e10:
        recorder.problem(1, f"{place}: duration is {took!r}, not milliseconds")
        return
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= RETRIES:
        recorder.problem(1, f"{place}: retries is {retries!r}, not a number from 0 to {RETRIES}")
        return
    at = recorder.moment(1, _text(test, "start"), f"{place}: start")
    relative = "" if file.startswith("/") or file[1:2] == ":" else file
    parts = [str(part) for part in suites if part] or [relative]
    browser = _text(test, "browser").partition(" ")[0]
    test_id = unicodedata.normalize("NFC", "::".join([part for part in parts if part] + [name]))
    test_id += f" [{browser}]" if browser else ""
    runs = [Run(True, round(took), None)] * retries + [Run(status == "failed", round(took), at)]
    recorder.add(1, test_id, (relative, _text(test, "device")), relative or parts[0], clock, runs)


def _text(record: object, name: str) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    # Some tools write 0 for a time that they do not know.
    return "" if value is None or value == 0 else str(value).strip()
