"""Releases under load: failed requests and traffic shares for every strategy and every ending.

Run: python benchmarks/release_under_load.py                      everything (minutes; wrk sends the load, if installed)
     python benchmarks/release_under_load.py --only canary rolling

A real Envoy, three real model servers under supervisord, the release store and MLflow on SQLite; the models are
tiny, the steps take half a second. Each line is a release: forward, aborted at every stop, superseded, paused
and resumed, promoted early. The exit status is not 0 if a request failed, if a share at Envoy is not as
intended, or if a release leaves a wrong state: route, aliases, pools, ledger.

Shares: within 3 standard deviations over all releases of a strategy, and within 4 in each: a single
figure of fifty beyond 3 is no surprise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from benchmarking.wrk_load import clients
from live_releases import LiveReleases, furnished
from release_scenarios import Outcome, Share, expected, run, scenarios

from perennial.core.release_spec import Strategy

EACH, TOGETHER = 4.0, 3.0
LINE = "{:11} {:24} {:>9} {:>7} {:12} {:>6} {}"


def share_text(share: Share) -> str:
    z = "" if share.z is None else f" ({share.z:+.1f} sd)"
    return f"{share.asked:g} %: {share.seen:.1f}{z}" if not share.mirror else f"copies: {share.seen:.1f}"


def missed(outcome: Outcome) -> Iterator[str]:
    """Return a text for every bar that a release missed."""
    intended = expected(outcome.scenario)
    if outcome.phase is not intended:
        yield f"ended {outcome.phase}, not {intended}"
    if outcome.failed:
        yield f"{outcome.failed} requests failed"
    yield from (f"share {share_text(share)}" for share in outcome.shares.values() if not share.holds(EACH))
    yield from outcome.problems


def walk_all(live_releases: LiveReleases, strategies: list[Strategy], asking) -> Iterator[Outcome]:
    for strategy in strategies:
        for scenario in scenarios(live_releases.use(strategy).release):
            yield run(scenario, live_releases, asking)


def pooled(outcomes: list[Outcome]) -> dict[tuple[Strategy, float], Share]:
    """Return the random shares, summed over all releases of a strategy."""
    sums: dict[tuple[Strategy, float], Share] = {}
    for outcome in outcomes:
        for share in (share for share in outcome.shares.values() if share.z is not None):
            key = (outcome.scenario.strategy, share.asked)
            total = sums.get(key, Share(share.asked, 0, 0))
            sums[key] = Share(share.asked, total.canary + share.canary, total.stable + share.stable)
    return sums


def strategies_under_load(live_releases: LiveReleases, strategies: list[Strategy], asking) -> list[str]:
    """Print the table; return the missed bars."""
    print(LINE.format("strategy", "ending", "requests", "failed", "phase", "s", "share at Envoy, %"))
    outcomes, bad = [], []
    for outcome in walk_all(live_releases, strategies, asking):
        outcomes.append(outcome)
        scenario, shares = outcome.scenario, "; ".join(map(share_text, outcome.shares.values()))
        phase = outcome.phase.value if outcome.phase else "-"
        cells = (outcome.requests, outcome.failed, phase, f"{outcome.seconds:.1f}", shares)
        print(LINE.format(scenario.strategy.value, str(scenario), *cells), flush=True)
        bad += [f"{scenario.strategy.value}, {scenario}: {words}" for words in missed(outcome)]
    for (strategy, _), share in pooled(outcomes).items():
        print(f"{strategy.value:11} all releases: {share_text(share)} of {share.canary + share.stable}")
        if not share.holds(TOGETHER):
            bad.append(f"{strategy.value}: share {share_text(share)}")
    sent, failed = sum(row.requests for row in outcomes), sum(row.failed for row in outcomes)
    print(f"{len(outcomes)} releases, {sent} requests, {failed} failed")
    return bad


def main() -> int:
    known = [strategy.value for strategy in Strategy]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=known, default=known, metavar="NAME")
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="perennial-load-") as name:
        folder = Path(name)
        with furnished(folder) as live_releases:
            asking = clients(live_releases, folder)
            bad = strategies_under_load(live_releases, list(map(Strategy, asked.only)), asking)
    print(*(f"MISSED {words}" for words in bad), f"{time.monotonic() - started:.0f} s", sep="\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
