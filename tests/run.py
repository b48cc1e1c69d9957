"""Run the tests in four lanes; tests/README.md says which test belongs where.

Lanes of one stage run beside each other, the stages one after the other. Each lane is a pytest of its own.
Further options are passed on to pytest.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from defusedxml.ElementTree import parse

TESTS = Path(__file__).resolve().parent
WORKERS = str(min(os.cpu_count() or 1, 4))
SLOWEST = 25


@dataclass
class Lane:
    """Tests that run in one pytest: those with the marker, or those with none of the `OWN_LANE` markers."""

    name: str
    marker: str = ""
    options: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    seconds: float = 0.0

    def command(self, reports: Path, fast: bool) -> list[str]:
        """Return the pytest command; its JUnit file is the lane's report."""
        unwanted = [*OWN_LANE, "slow"] if fast else OWN_LANE
        wanted = self.marker or " and ".join(f"not {marker}" for marker in unwanted)
        report = f"--junitxml={reports / self.name}.xml"
        return [sys.executable, "-m", "pytest", "-m", wanted, report, *self.options, *self._files()]

    def _files(self) -> list[str]:
        """Return what to collect: only files that name the marker, since imports take long."""
        if not self.marker:
            return [str(TESTS)]
        named = re.compile(rf"mark\.{self.marker}\b")
        return [str(path) for path in sorted(TESTS.rglob("test_*.py")) if named.search(path.read_text())]

    def environment(self) -> dict[str, str]:
        """Two test processes fill two cores: numeric libraries get one thread each."""
        return dict(os.environ) if self.marker else {**os.environ, "OMP_NUM_THREADS": "1"}


OWN_LANE = ("server", "traffic", "e2e")
PLAIN = Lane("plain", options=("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder"))
STAGES = ((PLAIN, Lane("servers", "server")), (Lane("e2e", "e2e"),), (Lane("traffic", "traffic"),))


def run_stage(lanes: tuple[Lane, ...], options: list[str], reports: Path, fast: bool) -> None:
    """Run lanes beside each other; the first writes to the terminal, the output of the others follows it."""
    started = time.monotonic()
    logs = [reports / f"{lane.name}.log" for lane in lanes[1:]]
    for lane, log in zip(lanes, [None, *logs], strict=True):
        print(f"== tests: {lane.name}", flush=True)
        out = log.open("w") if log else None
        command = [*lane.command(reports, fast), *options]
        lane.process = subprocess.Popen(command, stdout=out, stderr=out, env=lane.environment())
    waiting = list(lanes)
    while waiting:
        time.sleep(0.2)
        for lane in [lane for lane in waiting if lane.process and lane.process.poll() is not None]:
            lane.seconds = time.monotonic() - started
            waiting.remove(lane)
    for lane, log in zip(lanes[1:], logs, strict=True):
        print(f"== tests: {lane.name}\n{log.read_text()}", flush=True)


def summarise(lanes: list[Lane], reports: Path) -> bool:
    """Print the slowest tests and the counts of each lane; return whether all is well."""
    durations, well = [], True
    counts = []
    for lane in lanes:
        suite = parse(reports / f"{lane.name}.xml").getroot().find("testsuite")
        for case in suite.iter("testcase"):
            durations.append((float(case.get("time")), f"{case.get('classname')}::{case.get('name')}"))
        total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
        bad = int(suite.get("failures")) + int(suite.get("errors"))
        code = lane.process.returncode if lane.process else 1
        well = well and code == 0
        counts.append(
            f"{lane.name:8} {total - bad - skipped:5} passed {bad:3} failed {skipped:3} skipped"
            f" {lane.seconds:6.0f} s{'' if code == 0 else f'  exit code {code}'}"
        )
    print(f"== the {SLOWEST} slowest tests, set-up included")
    for seconds, name in sorted(durations, reverse=True)[:SLOWEST]:
        print(f"{seconds:7.1f} s  {name}")
    print("== lanes", *counts, sep="\n")
    return well


def main() -> int:
    """Return the exit code of the whole run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--lane", choices=[lane.name for stage in STAGES for lane in stage], help="only this one"
    )
    parser.add_argument("--fast", action="store_true", help="only the plain tests that are not marked slow")
    parser.add_argument("--deep", action="store_true", help="all examples of the property tests")
    asked, options = parser.parse_known_args()
    if asked.deep:
        options.append("--hypothesis-profile=deep")
    only = PLAIN.name if asked.fast else asked.lane
    stages = [tuple(lane for lane in stage if only in (None, lane.name)) for stage in STAGES]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder)
        for stage in filter(None, stages):
            run_stage(stage, options, reports, asked.fast)
        well = summarise([lane for stage in stages for lane in stage], reports)
    print(f"== all tests {'passed' if well else 'did NOT pass'} in {time.monotonic() - started:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
