"""JUnit XML reports of pytest, Maven (Surefire, Failsafe) and Jest (jest-junit), read into executions.

There is no common JUnit schema. The dialects differ as follows:

- pytest: `testsuites/testsuite name="pytest" timestamp`; classname is the dotted module (and class).
- Maven: the root is `testsuite`; older Surefire writes no timestamp; times may have thousands commas.
  Reruns (`rerunFailingTestsCount`): a test that passed in the end has a `flakyFailure` / `flakyError`
  per failed run; a test that never passed has `failure` and a `rerunFailure` / `rerunError` per rerun.
- Jest: a `testsuite` per file with a zone-less UTC timestamp; classname often repeats the name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from perennial.errors import DatasetMissing, MalformedInput
from perennial.limits import LONGEST_BUILD, implausible

FAILED = {"failure", "error"}
FAILED_BEFORE_PASS = {"flakyFailure", "flakyError"}
FAILED_AGAIN = {"rerunFailure", "rerunError"}
DEPTH = 100
"""Most suites inside each other."""
EXECUTIONS = 100_000
"""Most executions of a report."""
REPORT_BYTES = 64 * 1024 * 1024
DOTTED = re.compile(r"[\w$]+(\.[\w$]+)+")


@dataclass(frozen=True)
class Execution:
    """A run of a test in a report."""

    test_id: str
    area: str
    started_at: datetime
    duration_ms: int
    failed: bool


@dataclass(frozen=True)
class JUnitReport:
    """A report file. `key` is a hash of its content, by which a repeated import recognises it."""

    path: Path
    key: str
    executions: tuple[Execution, ...]
    skipped: int


def find(paths: list[Path]) -> list[Path]:
    """Return the given files and every `*.xml` below the given folders, sorted.

    Raises:
        DatasetMissing: a path does not exist, or a folder has no `*.xml`.
    """
    reports: set[Path] = set()
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*.xml"))
        if not files:
            raise DatasetMissing(f"no JUnit XML at {path}", hint="give report files or folders of them")
        reports.update(file.resolve() for file in files)
    return sorted(reports)


def read(path: Path, undated: datetime | None = None, now: datetime | None = None) -> JUnitReport:
    """Read a report.

    Args:
        path: the XML file.
        undated: start of a report without a timestamp (older Surefire); None raises an error.
        now: no test starts after it; the clock of this machine by default.

    Raises:
        MalformedInput: the file is no well-formed XML or no JUnit, has entities or a DTD, is over a limit
            of this module, or a test has no name, time or plausible start; names file and line.
    """
    return _Reader(path, undated, now or datetime.now(UTC)).report()


class _Lines(TreeBuilder):
    """Tree builder that keeps the line of each element, for error messages."""

    def __init__(self) -> None:
        super().__init__()
        self.parser: Any = None
        self.lines: dict[int, int] = {}

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        element = super().start(tag, attrs)
        self.lines[id(element)] = self.parser.CurrentLineNumber
        return element


class _Reader:
    def __init__(self, path: Path, undated: datetime | None, now: datetime) -> None:
        self.now = now
        self.depth = 0
        self.path = path
        self.undated = undated
        self.skipped = 0
        self.lines: dict[int, int] = {}

    def report(self) -> JUnitReport:
        if self.path.stat().st_size > REPORT_BYTES:
            raise MalformedInput(
                f"{self.path}: larger than {REPORT_BYTES} bytes",
                hint="leave the captured output out of the report",
            )
        content = self.path.read_bytes()
        root = self._parse(content)
        if root.tag not in ("testsuites", "testsuite"):
            raise self._wrong(root, f"the root is <{root.tag}>, not <testsuites> or <testsuite>")
        if self.undated is not None:
            self._refuse_implausible(root, self.undated, "the time of the file")
        executions = tuple(islice(self._suite(root, None, ""), EXECUTIONS + 1))
        if len(executions) > EXECUTIONS:
            raise self._wrong(root, f"more than {EXECUTIONS} executions", hint="split the report")
        # The time of an undated report distinguishes builds, but is not in its bytes.
        dated = b"" if self.undated is None else self.undated.isoformat().encode()
        return JUnitReport(
            self.path, hashlib.sha256(content + dated).hexdigest()[:16], executions, self.skipped
        )

    def _parse(self, content: bytes) -> Element:
        target = _Lines()
        parser = DefusedXMLParser(target=target, forbid_dtd=True)
        target.parser = parser.parser
        try:
            parser.feed(content)
            root = parser.close()
        except ParseError as error:
            raise MalformedInput(
                f"{self.path}:{error.position[0]}: not well-formed XML: {error}",
                hint="a test run that was killed writes half a report: delete the file",
            ) from error
        except DefusedXmlException as error:
            raise MalformedInput(
                f"{self.path}: refused: {error}", hint="a JUnit report needs no DTD and no entities"
            ) from error
        self.lines = target.lines
        return root

    def _suite(self, suite: Element, clock: datetime | None, suite_name: str) -> Iterator[Execution]:
        """Yield the executions of a suite and its inner suites, in sequence from the timestamp of the suite."""
        self.depth += 1
        if self.depth > DEPTH:
            raise self._wrong(suite, f"more than {DEPTH} suites inside each other")
        clock = self._timestamp(suite) or clock
        suite_name = suite.get("name") or suite_name
        for child in suite:
            if child.tag in ("testsuite", "testcase"):
                runs = self._suite if child.tag == "testsuite" else self._case
                for execution in runs(child, clock, suite_name):
                    yield execution
                    clock = execution.started_at + timedelta(milliseconds=execution.duration_ms)
        self.depth -= 1

    def _case(self, case: Element, clock: datetime | None, suite_name: str) -> Iterator[Execution]:
        kinds = [child.tag for child in case]
        if "skipped" in kinds or case.get("status") in ("skipped", "disabled", "notrun"):
            self.skipped += 1
            return
        start = clock or self.undated
        if start is None:
            raise self._wrong(
                case,
                "neither the suite nor an outer suite has a timestamp",
                hint="--undated file-time takes the time of the file",
            )
        test_id, area, took = self._test_id(case), _area(case, suite_name), self._duration(case)
        for failed in _verdicts(kinds):
            if implausible(start + timedelta(milliseconds=took), self.now, LONGEST_BUILD):
                raise self._wrong(
                    case, "its time and those of the tests before it add up to an end in the future"
                )
            yield Execution(test_id, area, start, took, failed)
            start += timedelta(milliseconds=took)

    def _test_id(self, case: Element) -> str:
        name, classname = _text(case, "name"), _text(case, "classname")
        if not name:
            raise self._wrong(case, "a testcase has no name")
        return name if classname in ("", name) else f"{classname}::{name}"

    def _duration(self, case: Element) -> int:
        text = case.get("time", "")
        try:
            seconds = float(text.replace(",", ""))
        except ValueError as error:
            raise self._wrong(case, f"time is {text!r}, not seconds") from error
        if not 0 <= seconds < 1e7:
            raise self._wrong(case, f"time is {text!r}, not a duration in seconds")
        return round(seconds * 1000)

    def _timestamp(self, suite: Element) -> datetime | None:
        text = suite.get("timestamp")
        if not text:
            return None
        try:
            stamp = datetime.fromisoformat(text)
            stamp = stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self._wrong(suite, f"timestamp is {text!r}, not ISO 8601") from error
        self._refuse_implausible(suite, stamp, "timestamp")
        return stamp

    def _refuse_implausible(self, element: Element, stamp: datetime, name: str) -> None:
        if problem := implausible(stamp, self.now):
            raise self._wrong(
                element,
                f"{name} is {stamp.isoformat()}, {problem}",
                hint="is the clock of that machine right? A time without a zone is taken as UTC",
            )

    def _wrong(self, element: Element, what: str, hint: str = "") -> MalformedInput:
        line = self.lines[id(element)]
        return MalformedInput(f"{self.path}:{line}: {what}", hint=hint or "is this file a JUnit XML report?")


def _verdicts(kinds: list[str]) -> list[bool]:
    """Return for each run of a testcase, reruns included, if it failed."""
    again = sum(kind in FAILED_AGAIN for kind in kinds)
    if any(kind in FAILED for kind in kinds):
        return [True] * (1 + again)
    before = sum(kind in FAILED_BEFORE_PASS for kind in kinds)
    return [True] * before + [False]


def _area(case: Element, suite_name: str) -> str:
    """Return the code area: the file, else the package of a dotted classname, else the suite."""
    classname = _text(case, "classname")
    if case.get("file"):
        return _text(case, "file")
    if DOTTED.fullmatch(classname):
        return classname.rpartition(".")[0]
    return unicodedata.normalize("NFC", suite_name)


def _text(case: Element, name: str) -> str:
    """Return an attribute in NFC: macOS and Linux spell one name with other code points."""
    return unicodedata.normalize("NFC", case.get(name, "").strip())
