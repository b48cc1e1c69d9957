"""Every test in four lanes: `make test`, `make test-fast`, `make test-deep`. tests/README.md says what goes where.

Lanes of one stage run beside each other, the stages one after the other. Each lane is a pytest of its own that
collects only the files which name its marker. A test that is skipped fails the run where CI is set.
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
MARKERS = ("server", "slow", "traffic", "e2e")
WORKERS = str(min(os.cpu_count() or 1, 4))
SLOWEST = 25


@dataclass
class Lane:
    """Tests that run in one pytest.

    Attributes:
        markers: marks of its tests; () for tests that have none.
        options: further options for pytest.
    """

    name: str
    markers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    seconds: float = 0.0

    def command(self, reports: Path) -> list[str]:
        """Return the pytest command; its JUnit file is the lane's report."""
        wanted = " or ".join(self.markers) or " and ".join(f"not {marker}" for marker in MARKERS)
        report = f"--junitxml={reports / self.name}.xml"
        return [sys.executable, "-m", "pytest", "-m", wanted, report, *self.options, *self._files()]

    def _files(self) -> list[str]:
        if not self.markers:
            return [str(TESTS)]
        named = re.compile(rf"mark\.({'|'.join(self.markers)})\b")
        return [str(path) for path in sorted(TESTS.rglob("test_*.py")) if named.search(path.read_text())]


PLAIN = Lane("plain", options=("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder"))
STAGES = (
    (PLAIN, Lane("servers", ("server", "slow"))),
    (Lane("e2e", ("e2e",)),),
    (Lane("traffic", ("traffic",)),),
)


def run_stage(lanes: tuple[Lane, ...], options: list[str], reports: Path) -> None:
    """Run lanes beside each other; the first writes to the terminal, the output of the others follows it."""
    started = time.monotonic()
    logs = [reports / f"{lane.name}.log" for lane in lanes[1:]]
    # One thread of a numeric library per test process: two processes fill two cores.
    env = {**os.environ, "OMP_NUM_THREADS": "1"} if len(lanes) > 1 else None
    for lane, log in zip(lanes, [None, *logs], strict=True):
        print(f"== tests: {lane.name}", flush=True)
        out = log.open("w") if log else None
        lane.process = subprocess.Popen([*lane.command(reports), *options], stdout=out, stderr=out, env=env)
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
        well = well and code == 0 and not (skipped and os.environ.get("CI"))
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
    parser.add_argument("--lane", choices=[lane.name for stage in STAGES for lane in stage])
    parser.add_argument("--deep", action="store_true", help="all examples of the property tests")
    asked, options = parser.parse_known_args()
    if asked.deep:
        options.append("--hypothesis-profile=deep")
    stages = [tuple(lane for lane in stage if asked.lane in (None, lane.name)) for stage in STAGES]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder)
        for stage in filter(None, stages):
            run_stage(stage, options, reports)
        well = summarise([lane for stage in stages for lane in stage], reports)
    print(f"== all tests {'passed' if well else 'did NOT pass'} in {time.monotonic() - started:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
