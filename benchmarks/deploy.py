"""Time from an approval to all traffic with the strategy `immediate`, and failed requests of clients.

Run: python benchmarks/deploy.py [--times 10] [--threads 4]        (about two minutes)

A real Envoy, three real model servers under supervisord, the release store and MLflow on SQLite; the models are tiny.
`perennial release reconcile --until-final` is a separate process for each release, so its start and its imports
count. Clients ask without a pause; the times are those of their answers, at Envoy.

Prints per release the seconds from the approval to the first answer of the new champion, to the last answer of the old
one, and to the end of the command, and the CPU time of the command (on an idle machine most of the time before the
first answer); then the failed requests. The exit status is not 0 if one failed.
benchmarks/rollback.py measures the way back.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from live_releases import BODY, PATH, LiveReleases, furnished
from load_generator import Load

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release_spec import Strategy


@dataclass
class TimedLoad(Load):
    """A load that keeps the time of the first and the last answer of each version."""

    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)

    def _count(self, status: int, text: bytes, seconds: float) -> None:
        before = dict(self.versions)
        super()._count(status, text, seconds)
        now = time.perf_counter()
        for version, count in self.versions.items():
            if count != before.get(version, 0):
                self.first.setdefault(version, now)
                self.last[version] = now


def once(live_releases: LiveReleases, threads: int) -> tuple[float, float, float, float, TimedLoad]:
    """Release the next version; return the seconds to its first answer, to the last of the old one and to the end of
    the command, its CPU seconds, and the clients."""
    candidate, champion = live_releases.challengers()[0], live_releases.champion
    status = live_releases.start(candidate)
    while status.phase is not Phase.AWAITING_APPROVAL:
        status = live_releases.walk(status)
    with TimedLoad(live_releases.stack.settings.port_envoy, PATH, BODY, threads=threads) as load:
        load.wait_for(50)
        approved = time.perf_counter()
        live_releases.say(status, IntentKind.APPROVE)
        used = cpu_seconds()
        # `release deploy` would refuse an approval that no pass has counted yet; this makes that pass, too.
        done = subprocess.run(
            [sys.executable, "-m", "perennial", "release", "reconcile", live_releases.model, "--until-final"],
            env={**os.environ, **live_releases.stack.environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        ended = time.perf_counter() - approved
        if done.returncode:
            raise SystemExit(f"the release exited {done.returncode}: {done.stderr}")
        used = cpu_seconds() - used
        load.wait_for(50)
    return load.first[candidate.version] - approved, load.last[champion.version] - approved, ended, used, load


def cpu_seconds() -> float:
    """Return the CPU time of all processes that this one has started and waited for."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--threads", type=int, default=4)
    asked = parser.parse_args()
    rows, sent, failures = [], 0, []
    with tempfile.TemporaryDirectory(prefix="perennial-deploy-") as folder, furnished(Path(folder)) as live:
        live.use(Strategy.IMMEDIATE, low_risk=1)
        for number in range(asked.times):
            *row, load = once(live, asked.threads)
            rows.append(row)
            sent, failures = sent + load.sent, failures + load.failures
            first, last, ended, used = row
            print(
                f"{number + 1:3}  first answer {first:.2f} s, last of the other {last:.2f} s, command ended "
                f"{ended:.2f} s, CPU {used:.2f} s (load {os.getloadavg()[0]:.1f})",
                flush=True,
            )
    last = [row[1] for row in rows]
    print(f"all traffic: median {statistics.median(last):.2f} s, longest {max(last):.2f} s of {len(last)}")
    print(f"requests {sent}, failed {len(failures)} {failures[:3]}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
