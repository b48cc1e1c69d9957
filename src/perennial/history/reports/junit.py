"""JUnit XML of many tools. There is no common schema; these dialects are known:

- pytest: `testsuites/testsuite name="pytest"`; classname is the dotted module (and class). A test whose teardown
  failed as well as its call has a second testcase. pytest-rerunfailures writes each rerun as an earlier testcase
  without a failure, although only a run that failed is repeated.
- Maven: the root is `testsuite`; older Surefire writes no timestamp; times may have thousands commas.
  Reruns (`rerunFailingTestsCount`): a test that passed in the end has a `flakyFailure` / `flakyError`
  per failed run; a test that never passed has `failure` and a `rerunFailure` / `rerunError` per rerun. A failure
  of a whole class (`@BeforeAll`) is a testcase without a name.
- nextest: the same, with the time and the duration of each rerun, and of each testcase.
- Jest: a `testsuite` per file with a zone-less UTC timestamp; classname is empty or repeats the name.
- Playwright: the name of the project (browser) is the `hostname` of the suite.
- PHPUnit: the class is in `class`; node: every classname is `test`, a suite is a `describe`; Eclipse: `testrun`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import PurePosixPath

from perennial.history.reports import times
from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.xml_stream import Event, Node

ROOTS = frozenset({"testsuites", "testsuite", "testrun"})
SUITES = ROOTS
TESTS = frozenset({"testcase"})
FAILED = {"failure", "error"}
FAILED_BEFORE_PASS = {"flakyFailure", "flakyError"}
FAILED_AGAIN = {"rerunFailure", "rerunError"}
NOT_RUN = {"skipped", "ignored", "disabled", "pending", "notrun", "not run", "suppressed", "untested"}
FAILED_STATUS = {"failed", "failure", "error", "fail", "broken", "timeout", "timedout", "aborted", "crashed"}
PLAIN = {"name", "classname", "time"}
"""Attributes of a testcase that say nothing about its result: most have no others."""
RUNS = 100_000
"""Most runs of a testcase."""
DOTTED = re.compile(r"[\w$]+([.\\][\w$]+)+")
NO_CLASS = {"", "test", "suite", "undefined", "null"}
"""Values of classname that say nothing."""
SCRIPTED = {"jest tests", "Mocha Tests", "vitest tests"}
"""Tools that write only the last run of a test: a title that is there twice is another test."""
BROWSER = ("browser", "browserName", "project", "device", "platform")
"""Attributes and properties of a suite that tell apart what its tests ran on."""
PATH = re.compile(r"(/|[A-Za-z]:[\\/]|file:)")
"""Start of a path that is another on another machine."""
TEARDOWN = ("failed on teardown", "test teardown failure")


def read(events: Iterable[Event], recorder: Recorder) -> None:
    """Read the executions of a report."""
    reader = _Reader(recorder)
    for kind, node in events:
        if kind == "test":
            reader.case(node)
        elif kind == "start":
            reader.start(node)
        else:
            reader.end(node)


class _Suite:
    """A suite that is open: its clock, and what is the same for all its tests."""

    def __init__(self, node: Node, clock: Clock, outer: _Suite | None) -> None:
        self.clock = clock
        self.name = _name(node.get("name")) or (outer.name if outer else "")
        path = [outer.path] if outer and outer.path else []
        self.path = " > ".join([*path, _name(node.get("name"))]).strip(" >")
        self.file = _relative(node.get("file", "filepath")) or (outer.file if outer else "")
        self.package = _name(node.get("package"))
        self.host = node.get("hostname")
        self.browser = node.get(*BROWSER) or (outer.browser if outer else "")
        # Playwright's suites are files, and so its classes: then the host is no machine, but a project.
        self.is_file = bool(PurePosixPath(self.name).suffix)
        self.is_pytest = node.get("name") in ("pytest", "pytest tests") or (
            outer is not None and outer.is_pytest
        )
        self.is_scripted = node.get("name") in SCRIPTED or (outer is not None and outer.is_scripted)
        self.is_playwright = outer.is_playwright if outer else "id" in node.attributes
        self.runs_of: dict[str, int] = {}
        """pytest: test -> number of its last run."""
        self.context: tuple[str, ...] = ()


class _Reader:
    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.suites: list[_Suite] = []
        self.latest = Clock()
        self.root_file = ""
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def start(self, node: Node) -> None:
        recorder = self.recorder
        if node.tag in FAILED and self.suites:
            recorder.suite_errors += 1
        if node.tag == "property" and self.suites and node.get("name") in BROWSER:
            self.suites[-1].browser = _name(node.get("value"))
        if node.tag not in SUITES:
            return
        outer = self.suites[-1] if self.suites else None
        stamp = recorder.moment(node.line, node.get("timestamp", "started-at", "start-time"), "timestamp")
        if stamp is not None:
            self.latest = Clock(stamp, self._wall(node))
        # A suite without a time goes on after the suite before it.
        clock = (
            self.latest if stamp is not None or outer is None or outer.clock.start is None else outer.clock
        )
        suite = _Suite(node, clock, outer)
        if suite.name == "Root Suite":  # mocha-junit-reporter: the suites after it have no file
            self.root_file = suite.file
        suite.file = suite.file or self.root_file
        self.suites.append(suite)

    @staticmethod
    def _wall(node: Node) -> int | None:
        try:
            return max(0, round(times.seconds(node.get("time")) * 1000)) or None
        except (ValueError, OverflowError):
            return None  # only a help: the tests have their own

    def end(self, node: Node) -> None:
        if node.tag in SUITES and self.suites:
            self.suites.pop()

    def case(self, case: Node) -> None:
        recorder, suite = self.recorder, self.suites[-1]
        plain = not case.children and case.attributes.keys() <= PLAIN
        kinds = [child.tag for child in case.children]
        failed = not plain and any(kind in FAILED for kind in kinds)
        repeated = FAILED_BEFORE_PASS.union(FAILED_AGAIN).intersection(kinds)
        if not plain and not failed and not repeated and not _ran(case, kinds):
            recorder.skipped += 1
            return
        classname = _name(case.get("classname", "class"))
        file = suite.file if plain else _relative(case.get("file", "filepath")) or suite.file
        project = suite.host if suite.host and suite.is_file and classname == suite.name else ""
        test_id = _test_id(_name(case.get("name")), suite, classname, file, project)
        if not test_id:
            recorder.problem(case.line, "a testcase has no name")
            return
        if suite.is_pytest and self._repeated(case, kinds, suite, test_id, failed):
            return
        context = (file, suite.name, suite.path, project, suite.package, suite.browser)
        if context == suite.context:
            context = suite.context  # one object for the tests of a suite
        suite.context = context
        if suite.is_scripted:
            self.seen[test_id, context] += 1
            count = self.seen[test_id, context]
            test_id = f"{test_id} ({count})" if count > 1 else test_id
        took = recorder.milliseconds(case.line, case.get("time", "duration"))
        runs = [Run(False, took)] if plain else self._runs(case, took, failed)
        recorder.add(
            case.line, test_id, context, file or _package(classname) or suite.name, suite.clock, runs
        )

    def _repeated(self, case: Node, kinds: list[str], suite: _Suite, test_id: str, failed: bool) -> bool:
        """Return whether a testcase of pytest belongs to the run before it; correct that run if it was repeated."""
        verdicts = self.recorder.failed
        before = suite.runs_of.get(test_id)
        suite.runs_of[test_id] = len(verdicts)
        if before is None:
            return False
        if "error" in kinds and case.all("error")[0].get("message").startswith(TEARDOWN) and verdicts[before]:
            suite.runs_of[test_id] = before
            return True
        verdicts[before] = True
        return False

    def _runs(self, case: Node, took: int, failed: bool) -> list[Run]:
        """Return each run of a testcase, reruns included, in order of time."""
        stamp = case.get("timestamp", "started-at", "start-time")
        own = Run(
            failed or case.get("status", "result").lower() in FAILED_STATUS,
            took,
            self.recorder.moment(case.line, stamp, "timestamp of the testcase"),
        )
        again, before = (
            [child for child in case.children if child.tag in tags]
            for tags in (FAILED_AGAIN, FAILED_BEFORE_PASS)
        )
        others = [self._rerun(child, took) for child in [*before, *again]]
        if len(others) > RUNS:
            raise self.recorder.refuse(case.line, f"more than {RUNS} executions of a test")
        if failed:
            return [*others[: len(before)], own, *others[len(before) :]]
        if (again and not before) or (others and not _ran(case, [child.tag for child in case.children])):
            return others
        return [*others, own]

    def _rerun(self, node: Node, took: int) -> Run:
        own = self.recorder.milliseconds(node.line, node.get("time")) if node.get("time") else took
        at = self.recorder.moment(node.line, node.get("timestamp"), "timestamp of a rerun")
        return Run(True, own, at)


def _ran(case: Node, kinds: list[str]) -> bool:
    said = (case.get("status").lower(), case.get("result").lower())
    return not (
        any(kind in NOT_RUN for kind in kinds)
        or any(word in NOT_RUN for word in said)
        or case.get("executed").lower() == "false"
    )


def _test_id(name: str, suite: _Suite, classname: str, file: str, project: str) -> str:
    """Return the id: class and name; without a class the file or suite and the name."""
    if not name:
        return classname
    if classname in NO_CLASS or classname == name:
        place = file or suite.name
        # jest-junit puts the outermost `describe` both into the suite and the name.
        named = not place or place == name or (classname == name and name.startswith(place))
        return name if named else f"{place}::{name}"
    return f"{classname}::{name} [{project}]" if project and suite.is_playwright else f"{classname}::{name}"


def _relative(path: str) -> str:
    """Return a path in NFC if it is the same on every machine, else nothing."""
    return "" if PATH.match(path) else _name(path)


@lru_cache(maxsize=4096)
def _package(classname: str) -> str:
    """Return the package of a dotted classname, else nothing."""
    return classname.replace("\\", ".").rpartition(".")[0] if DOTTED.fullmatch(classname) else ""


def _name(text: str) -> str:
    """Return a name in NFC: macOS and Linux spell one name with other code points."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
