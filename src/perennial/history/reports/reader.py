"""Find test reports and read each by the format of its root element."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from perennial.errors import DatasetMissing
from perennial.history.reports import ctrf, junit, nunit, testng, trx, xunit_net
from perennial.history.reports.recorder import Recorder
from perennial.history.reports.report import ReadOptions, Report, Runs, Undated, wrong
from perennial.history.reports.xml_stream import Event, stream
from perennial.limits import implausible

FORMATS = {root: module for module in (junit, xunit_net, nunit, testng, trx) for root in sorted(module.ROOTS)}
"""Root element -> module with `ROOTS`, `TESTS` and `read`."""


def find(paths: list[Path]) -> list[Path]:
    """Return the given files and every `*.xml`, `*.trx` and `*ctrf*.json` below the given folders, sorted.

    Raises:
        DatasetMissing: a path does not exist, or a folder has no report.
    """
    reports: set[Path] = set()
    for path in paths:
        files = [path] if path.is_file() else [file for file in path.rglob("*") if _is_report(file)]
        if not files:
            raise DatasetMissing(
                f"no JUnit XML or other test report at {path}", hint="give report files or folders of them"
            )
        reports.update(file.resolve() for file in files)
    return sorted(reports)


def _is_report(path: Path) -> bool:
    name = path.name.lower()
    return (name.endswith((".xml", ".trx")) or ("ctrf" in name and name.endswith(".json"))) and path.is_file()


def read(path: Path, options: ReadOptions, undated: Undated = "error", known: Collection[str] = ()) -> Report:
    """Read a report.

    Args:
        path: the file.
        options: how it is read.
        undated: start of a report without any time (older Surefire).
        known: keys of reports that need not be read again; such a report is returned without executions.

    Raises:
        MalformedInput: the file is no well-formed report, has entities or a DTD, or is over a limit of the modules
            here; or no test of it has a name, time and plausible start. Names file and line.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    keys = {None: digest.hexdigest()[:16]}
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    if undated == "file-time":
        # The time of an undated report distinguishes builds, but is not in its bytes.
        digest.update(changed.isoformat().encode())
        keys[changed] = digest.hexdigest()[:16]
    for key in keys.values():
        if key in known:
            return Report(path, key, Runs())
    if undated == "file-time":
        options = replace(options, undated=changed)
    recorder = Recorder(path, options)
    _read(path, recorder)
    key = keys[None]
    if undated == "file-time" and recorder.takes_file_time():
        if problem := implausible(changed, options.now):
            raise wrong(path, 1, f"the time of the file is {changed.isoformat()}, {problem}")
        key = keys[changed]
    return recorder.report(key)


def _read(path: Path, recorder: Recorder) -> None:
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            ctrf.read(path, recorder)
            return
    events = iter(stream(path, lambda root: FORMATS[root].TESTS if root in FORMATS else frozenset()))
    first = next(events)
    root = first.node
    if root.tag not in FORMATS:
        names = ", ".join(f"<{name}>" for name in FORMATS)
        raise wrong(path, root.line, f"the root is <{root.tag}>, not one of {names}")
    reader: Callable[[Iterable[Event], Recorder], None] = FORMATS[root.tag].read
    reader(chain([first], events), recorder)
