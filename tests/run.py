"""Run the tests in lanes, each a pytest of its own; tests/README.md says which test belongs where.

Further options are passed on to pytest.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import parse

TESTS = Path(__file__).resolve().parent
WORKERS = str(min(os.cpu_count() or 1, 4))
SLOWEST = 25
REASON = 600
"""Characters of a failure's message in the summary."""
NICENESS = 10


def yield_to_others() -> None:
    """Take the CPU time that others leave, and a tenth beside them, so that no test stands still for minutes.

    Also where the kernel schedules by session (autogroup).
    """
    os.nice(NICENESS)
    os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


@dataclass
class Lane:
    """Tests that run in one pytest: those with the marker, or those with none of the `OWN_LANE` markers."""

    name: str
    marker: str = ""
    options: tuple[str, ...] = ()
    process: subprocess.Popen | None = None
    started: float = 0.0
    seconds: float = 0.0

    def start(self, reports: Path, options: list[str], fast: bool, shown: bool, polite: bool) -> None:
        """Start pytest; unless `shown`, its output goes to a file. `polite`: only on cores that are idle."""
        out = None if shown else self.log(reports).open("w")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*self.command(reports, fast), *options],
            stdout=out, stderr=out, env=self.environment(), preexec_fn=yield_to_others if polite else None,
        )  # fmt: skip

    def stop(self) -> None:
        """Let pytest stop what it has started."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()

    @property
    def code(self) -> int | None:
        return self.process.returncode if self.process else None

    def log(self, reports: Path) -> Path:
        return reports / f"{self.name}.log"

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


OWN_LANE = ("server", "traffic", "e2e", "gpu", "production")
SIDE_BY_SIDE = ("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder")
PLAIN = Lane("plain", options=(*SIDE_BY_SIDE, "--timeout=900"))  # what the others leave may be little
SERVERS, E2E, TRAFFIC = Lane("servers", "server"), Lane("e2e", "e2e"), Lane("traffic", "traffic")
GPU = Lane("gpu", "gpu")
"""Only when it is asked for: its tests are skipped on a machine without a GPU."""
PRODUCTION = Lane("production", "production")
"""Only when it is asked for: it starts servers of a production."""
LEFTOVERS = (PLAIN,)
"""Lanes that compute; they run beside the others and get only what CPU those leave."""
FIRST = (E2E, PRODUCTION)
"""Lanes of whole plants, one after the other, before everything else."""
BESIDE = (SERVERS, TRAFFIC)
"""Lanes that begin when the demo's whole stack has stopped, one after the other: the stack needs all cores."""
LANES, ASKED = (PLAIN, SERVERS, E2E, TRAFFIC), (GPU, PRODUCTION)


def run_lanes(lanes: list[Lane], options: list[str], reports: Path, fast: bool) -> None:
    """Run the lanes in chains beside each other.

    `LEFTOVERS` write to the terminal as they go; the output of the others follows at the end. A lane without
    another one beside it does so at once.
    """
    chains = [[lane for lane in chain if lane in lanes] for chain in (LEFTOVERS, (*FIRST, GPU), BESIDE)]
    alone = len(lanes) == 1
    quiet = []
    while any(chains):
        for chain in chains:
            if not chain or (chain[0] in BESIDE and E2E in chains[1]):
                continue
            lane, polite = chain[0], chain is chains[0] and not alone
            if lane.process is None:
                print(f"== tests: {lane.name} begins", flush=True)
                lane.start(reports, options, fast, shown=polite or alone, polite=polite)
                quiet += [] if polite or alone else [lane]
            elif lane.process.poll() is not None:
                lane.seconds = time.monotonic() - lane.started
                print(f"== tests: {lane.name} ended after {lane.seconds:.0f} s", flush=True)
                chain.pop(0)
        time.sleep(0.2)
    for lane in quiet:
        print(f"== tests: {lane.name}\n{lane.log(reports).read_text()}", flush=True)


def summarise(lanes: list[Lane], reports: Path) -> bool:
    """Print the slowest tests, what failed and the counts of each lane; return whether all is well."""
    durations, well = [], True
    counts, failed = [], []
    for lane in lanes:
        report = reports / f"{lane.name}.xml"
        if not report.is_file():
            well = False
            counts.append(f"{lane.name:8} ended without a report, exit code {lane.code}")
            continue
        suite = parse(report).getroot().find("testsuite")
        for case in suite.iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            durations.append((float(case.get("time")), name))
            failed += [f"{name}: {_reason(bad)}" for kind in ("failure", "error") for bad in case.iter(kind)]
        total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
        bad = int(suite.get("failures")) + int(suite.get("errors"))
        well = well and lane.code == 0
        counts.append(
            f"{lane.name:8} {total - bad - skipped:5} passed {bad:3} failed {skipped:3} skipped"
            f" {lane.seconds:6.0f} s  exit code {lane.code}"
        )
    print(f"== the {SLOWEST} slowest tests, set-up included")
    for seconds, name in sorted(durations, reverse=True)[:SLOWEST]:
        print(f"{seconds:7.1f} s  {name}")
    if failed:  # also here: a log that somebody shortens in its middle still says it
        print("== failed", *failed, sep="\n")
    print("== lanes", *counts, sep="\n")
    return well


def _reason(failure: Element) -> str:
    """Return the message of a failure in one line."""
    return " ".join((failure.get("message") or "").split())[:REASON]


def main() -> int:
    """Return the exit code of the whole run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lane", choices=[lane.name for lane in (*LANES, *ASKED)], help="only this one")
    parser.add_argument("--also", choices=[PRODUCTION.name], help="after the tests of the whole stack")
    parser.add_argument("--fast", action="store_true", help="only the plain tests that are not marked slow")
    parser.add_argument("--deep", action="store_true", help="all examples of the property tests")
    asked, options = parser.parse_known_args()
    if asked.deep:
        options.append("--hypothesis-profile=deep")
    only = PLAIN.name if asked.fast else asked.lane
    started = time.monotonic()
    wanted = {only} if only else {*(lane.name for lane in LANES), asked.also}
    lanes = [lane for lane in (*LANES, *ASKED) if lane.name in wanted]
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder)
        try:
            run_lanes(lanes, options, reports, asked.fast)
        except KeyboardInterrupt:
            for lane in lanes:
                lane.stop()
            return 130
        well = summarise(lanes, reports)
    print(f"== all tests {'passed' if well else 'did NOT pass'} in {time.monotonic() - started:.0f} s")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
