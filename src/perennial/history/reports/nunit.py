"""XML of NUnit 3 (`test-run/test-suite/test-case`, or a suite alone) and NUnit 2 (`test-results`)."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.report import class_and_name
from perennial.history.reports.xml_stream import Event, Node

ROOTS = frozenset({"test-run", "test-results", "test-suite"})
TESTS = frozenset({"test-case"})
FAILED = {"failed", "failure", "error"}
PASSED = {"passed", "success", "warning"}


def read(events: Iterable[Event], recorder: Recorder) -> None:
    """Read the executions of a report."""
    clock, suites = Clock(), [""]
    for kind, node in events:
        if kind == "test":
            _case(node, recorder, clock, (suites[-1], " > ".join(suites)))
        elif node.tag not in ROOTS:
            continue
        elif kind == "end":
            suites.pop()
        else:
            suites.append(node.get("name").replace("\\", "/").rpartition("/")[2])
            if stamp := recorder.moment(node.line, _start(node), "start-time"):
                clock = Clock(stamp)


def _start(node: Node) -> str:
    date, time = node.get("run-date", "date"), node.get("start-time", "time")
    if date:
        return f"{date} {time}" if ":" in time else date
    return node.get("start-time")


def _case(node: Node, recorder: Recorder, clock: Clock, context: tuple[str, ...]) -> None:
    result = node.get("result").lower()
    if not result and node.get("success"):  # NUnit 2.4
        result = "success" if node.get("success").lower() == "true" else "failure"
    if node.get("executed").lower() == "false" or result not in FAILED | PASSED:
        recorder.skipped += 1
        return
    full = node.get("fullname") or node.get("name")
    # NUnit 2 has no class: the arguments may have dots, the method before them ends the class.
    method = full.partition("(")[0]
    classname = node.get("classname") or method.rpartition(".")[0]
    name = class_and_name(classname, full)
    took = recorder.milliseconds(node.line, node.get("duration", "time"))
    if not name:
        recorder.problem(node.line, "a test-case has no name")
    else:
        at = recorder.moment(node.line, node.get("start-time"), "start-time of the test-case")
        area = classname.rpartition(".")[0]
        recorder.add(node.line, name, context, area, clock, [Run(result in FAILED, took, at)])
