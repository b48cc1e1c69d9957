"""XML of xUnit.net, versions 1 to 3: `assemblies/assembly/collection/test`, a `class` in version 1."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.report import class_and_name
from perennial.history.reports.xml_stream import Event, Node

ROOTS = frozenset({"assemblies", "assembly"})
TESTS = frozenset({"test"})


def read(events: Iterable[Event], recorder: Recorder) -> None:
    """Read the executions of a report."""
    clock, assembly = Clock(), ""
    for kind, node in events:
        if kind == "start" and node.tag == "assembly":
            assembly = node.get("name").replace("\\", "/").rpartition("/")[2]
            clock = _clock(node, recorder)
        elif kind == "start" and node.tag == "error":
            recorder.suite_errors += 1
        elif kind == "test":
            _test(node, recorder, clock, assembly)


def _clock(node: Node, recorder: Recorder) -> Clock:
    text = node.get("start-rtf") or f"{node.get('run-date')} {node.get('run-time')}"
    return Clock(recorder.moment(node.line, text, "start of the assembly"), wall_ms=None)


def _test(node: Node, recorder: Recorder, clock: Clock, assembly: str) -> None:
    result = node.get("result").lower()
    if result not in ("pass", "fail"):
        recorder.skipped += 1
        return
    classname = node.get("type")
    name = class_and_name(classname, node.get("name") or node.get("method"))
    took = recorder.milliseconds(node.line, node.get("time"))
    if not name:
        recorder.problem(node.line, "a test has no name")
    else:
        at = recorder.moment(node.line, node.get("start-rtf"), "start of the test")
        run = Run(result == "fail", took, at)
        recorder.add(node.line, name, (assembly,), classname.rpartition(".")[0], clock, [run])
