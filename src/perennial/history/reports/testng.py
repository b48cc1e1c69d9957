"""XML of TestNG: `testng-results/suite/test/class/test-method`.

The arguments of a data provider and the name of an instance are part of the id: each of them is a test. `retried` is a
run that failed and was repeated, although its status is SKIP.
"""

from __future__ import annotations

from collections.abc import Iterable

from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.report import class_and_name
from perennial.history.reports.xml_stream import Event, Node

ROOTS = frozenset({"testng-results"})
TESTS = frozenset({"test-method"})


def read(events: Iterable[Event], recorder: Recorder) -> None:
    """Read the executions of a report."""
    clock, place, classname = Clock(), ("", ""), ""
    for kind, node in events:
        if kind == "start" and node.tag in ("suite", "test"):
            place = (node.get("name"), place[1]) if node.tag == "test" else ("", node.get("name"))
            if stamp := recorder.moment(node.line, node.get("started-at"), "started-at"):
                clock = Clock(stamp)
        elif kind == "start" and node.tag == "class":
            classname = node.get("name")
        elif kind == "test":
            _method(node, recorder, clock, place, classname)


def _method(node: Node, recorder: Recorder, clock: Clock, place: tuple[str, ...], classname: str) -> None:
    status, is_config = node.get("status").upper(), node.get("is-config").lower() == "true"
    retried = node.get("retried").lower() == "true"
    failed = status == "FAIL" or retried
    if is_config and not failed:
        return
    if not failed and status != "PASS":
        recorder.skipped += 1
        return
    name = node.get("name")
    values = [
        "".join(value.text).strip()
        for params in node.all("params")
        for param in params.all("param")
        for value in param.all("value")
    ]
    arguments = f"({', '.join(values)})" if values else ""
    if instance := node.get("test-instance-name", "instance-name"):
        arguments += f" [{instance}]"
    took = recorder.milliseconds(node.line, node.get("duration-ms"), unit_ms=1)
    if not name:
        recorder.problem(node.line, "a test-method has no name")
    else:
        at = recorder.moment(node.line, node.get("started-at"), "started-at of the test-method")
        area = classname.rpartition(".")[0]
        run = Run(failed, took, at)
        recorder.add(node.line, class_and_name(classname, name) + arguments, place, area, clock, [run])
