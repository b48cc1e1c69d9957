"""`perennial release deploy` brings an approved version to all traffic, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from live_releases import BODY, MODEL, PATH, LiveReleases
from load_generator import Load

from perennial.core.release.status import IntentKind
from perennial.core.release_spec import Strategy
from perennial.errors import ApprovalRefused

pytestmark = pytest.mark.traffic


def deploy(live_releases: LiveReleases, version: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "perennial", "release", "deploy", MODEL, "--version", version, *more],
        env={**os.environ, **live_releases.stack.environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_traffic_after_the_approval_and_not_before(live_releases: LiveReleases):
    live_releases.use(Strategy.IMMEDIATE, low_risk=1)
    live_releases.stack.wait_healthy(MODEL)
    candidate, champion = live_releases.challengers()[0], live_releases.champion
    status = live_releases.start(candidate)
    status = live_releases.walk(status)
    with Load(live_releases.stack.settings.port_envoy, PATH, BODY, threads=2, pause_s=0.05) as load:
        refused = deploy(live_releases, candidate.version)
        assert refused.returncode == ApprovalRefused.exit_code, refused.stderr
        assert live_releases.champion == champion
        live_releases.say(status, IntentKind.APPROVE)
        live_releases.walk(status)
        done = deploy(live_releases, candidate.version)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "approved by bob" in done.stdout
        assert live_releases.champion == candidate
        load.wait_for(10)
    assert load.versions[candidate.version] >= 10
    assert load.failed == 0, load.failures
