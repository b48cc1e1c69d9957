"""Time and memory of importing one large JUnit report.

Run: python benchmarks/import_report.py [--tests 300000]   (under a minute)

A report with suites of 1000 tests is written to a temporary folder; every 50th test failed, every third has captured
output. A process of its own then imports it into an empty history, as `perennial data import-junit` does. Memory is
the peak of that process, and what it had before the import.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

SUITE = 1000
OUTPUT = f"<system-out>{'a line of captured output ' * 8}</system-out>"


def write(path: Path, tests: int) -> None:
    """Write the report."""
    with path.open("w") as file:
        file.write("<testsuites>\n")
        for suite in range(-(-tests // SUITE)):
            file.write(f'<testsuite name="s{suite}" timestamp="2025-03-01T10:00:00" time="100">\n')
            for number in range(min(SUITE, tests - suite * SUITE)):
                inside = "<failure>a trace</failure>" * (number % 50 == 0) + OUTPUT * (number % 3 == 0)
                file.write(
                    f'<testcase classname="com.acme.p{suite}.T" name="t{number}" time="0.1">{inside}</testcase>\n'
                )
            file.write("</testsuite>\n")
        file.write("</testsuites>\n")


def measure(path: Path) -> None:
    """Import the report and print the figures."""
    from perennial.flows.training import ingest
    from perennial.history.store import HistoryStore

    before = _peak_mb()
    began, began_cpu = time.perf_counter(), time.process_time()
    done, _ = ingest.junit(
        HistoryStore(path.parent / "history"), "ci", [path], "ci", "folder", "error", datetime.now(UTC)
    )
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    print(
        f"{done.added} tests, {path.stat().st_size / 1e6:.0f} MB: {seconds:.1f} s ({cpu:.1f} s of a core), "
        f"peak {_peak_mb():.0f} MB ({before:.0f} MB before)"
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Write a report, then import it in another process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tests", type=int, default=300_000)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.report:
        measure(options.report)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        write(report, options.tests)
        subprocess.run([sys.executable, __file__, "--report", str(report)], check=True)


if __name__ == "__main__":
    main()
