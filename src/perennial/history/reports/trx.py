"""TRX of MSTest and of every `dotnet test --logger trx`: `TestRun/Results/UnitTestResult`.

The class of a test is in `TestDefinitions`, after the results. The rows of a data-driven test are its `InnerResults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from perennial.history.reports.recorder import Clock, Recorder, Run
from perennial.history.reports.report import class_and_name
from perennial.history.reports.xml_stream import Event, Node

ROOTS = frozenset({"TestRun"})
RESULTS = frozenset(
    {"UnitTestResult", "GenericTestResult", "WebTestResult", "TestResult", "TestResultAggregation"}
)
TESTS = RESULTS | {"UnitTest"}
FAILED = {"failed", "error", "timeout", "aborted"}
PASSED = {"passed", "warning", "passedbutrunaborted"}


def read(events: Iterable[Event], recorder: Recorder) -> None:
    """Read the executions of a report."""
    clock, results, classes = Clock(), [], {}
    for kind, node in events:
        if kind == "start" and node.tag == "Times":
            clock = Clock(recorder.moment(node.line, node.get("start"), "start of the run"))
        elif kind == "test" and node.tag == "UnitTest":
            for method in node.all("TestMethod"):
                # Some adapters name the assembly, too: "Acme.PayTest, Acme, Version=1.0".
                classes[node.get("id")] = method.get("className").partition(",")[0].strip()
        elif kind == "test":
            results += [Result(result) for result in _innermost(node)]
    for result in results:
        result.record(recorder, clock, classes)


def _innermost(node: Node) -> Iterator[Node]:
    inner = [result for part in node.all("InnerResults") for result in part.children if result.tag in RESULTS]
    if not inner:
        yield node
    for result in inner:
        yield from _innermost(result)


class Result:
    """A result, without its output, until the definitions are known."""

    __slots__ = ("duration", "line", "name", "outcome", "start", "test")

    def __init__(self, node: Node) -> None:
        self.line = node.line
        self.test, self.name = node.get("testId"), node.get("testName")
        self.outcome = node.get("outcome").lower()
        self.start, self.duration = node.get("startTime"), node.get("duration")

    def record(self, recorder: Recorder, clock: Clock, classes: dict[str, str]) -> None:
        """Add the run of this result."""
        if self.outcome not in FAILED | PASSED:
            recorder.skipped += 1
            return
        classname = classes.get(self.test, "")
        name = class_and_name(classname, self.name)
        took = recorder.milliseconds(self.line, self.duration)
        if not name:
            recorder.problem(self.line, "a result has no testName")
        else:
            at = recorder.moment(self.line, self.start, "startTime")
            run = Run(self.outcome in FAILED, took, at)
            recorder.add(self.line, name, (), classname.rpartition(".")[0], clock, [run])
