"""Servers that are killed or find bad files: real processes under the real supervisor."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from doubles.releases import MemoryStore
from doubles.routing import MemoryJournal
from load_generator import Load
from serving_stack import free_ports, inside, status, target, until
from signing import FOLDER, TRUSTED
from tiny_models import tensor_body, tiny_version

from perennial import catalog
from perennial.core.release.approval import Approval, Risk
from perennial.core.release.gate_report import GateReport
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import Route
from perennial.core.verdict import Judgement, Verdict
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.reconcile import reconcile
from perennial.local import supervisor, supervisord
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.settings import Settings
from perennial.wiring import releasing, traffic

pytestmark = pytest.mark.traffic
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
PASSED = Judgement(rule="all", verdict=Verdict.PASS, observed="well", needed="well")


@pytest.fixture
def supervised(tmp_path):
    """supervisord with the stable model servers of a machine alone."""
    ports = free_ports(11)
    names = ("mlflow", "airflow", "envoy", "monitor")
    settings = Settings(
        home=tmp_path, **{f"port_{name}": port for name, port in zip(names, ports, strict=False)},
        ports_stable=f"{ports[5]},{ports[6]}", ports_canary=str(ports[7]), trusted_keys=FOLDER,
        ports_stable_grpc=f"{ports[8]},{ports[9]}", ports_canary_grpc=str(ports[10]),
    )  # fmt: skip
    servers = [process for process in table(settings) if process.name.startswith("server-stable")]
    (settings.state / "logs").mkdir(parents=True)
    supervisord.launch(settings, servers, base_environment(settings))
    yield settings
    supervisor.down(settings, lambda words: None)


def test_a_crashed_server_comes_back_with_what_it_should_hold(supervised, tmp_path):
    """And one that finds a changed file never becomes ready, says so, and serves its other version on."""
    pool = traffic.pool(supervised)
    refs = []
    for model in ("healing", "spoilt"):
        ref, files = tiny_version(tmp_path, model, "1.0.0", bias=0.1 * len(refs))
        pool.ensure("stable", ref, files)
        refs.append(ref)
    good, bad = refs
    for ref in refs:
        until(lambda ref=ref: pool.readiness("stable", ref.model, ref.digest).complete, 180, str(ref))
    assert set(map(tuple, supervisor.server_problems(supervised).values())) >= {()}

    name, port = f"server-stable-{supervised.ports('stable')[0]}", supervised.ports("stable")[0]
    file = supervised.serving_dir / "store" / bad.digest / "model.onnx"
    file.write_bytes(file.read_bytes()[:-10])
    worker = answering(port, supervised)
    pid = supervisord.states(supervised)[name]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: supervisord.states(supervised)[name]["pid"] not in (0, pid), 60, "restarted")
    until(lambda: answering(port, supervised) not in (0, worker), 180, "a new worker answers")
    until(lambda: status(f"http://127.0.0.1:{port}/livez") == 200, 180, "answers again")
    until(
        lambda: pool.readiness("stable", good.model, good.digest).complete, 60, "the good one is held again"
    )
    assert status(f"http://127.0.0.1:{port}/readyz", inside(supervised)) == 503
    assert pool.readiness("stable", bad.model, bad.digest).ready == 1, "the other server has it in memory"
    problems = supervisor.server_problems(supervised)[name]
    assert len(problems) == 1
    assert "spoilt 1.0.0" in problems[0]
    assert "digest" in problems[0]


def answering(port: int, settings: Settings) -> int:
    """Process id of the worker behind the port; 0 when nobody answers. A worker outlives its parent a moment."""
    try:
        return httpx.get(
            f"http://127.0.0.1:{port}/v1/pool", headers=inside(settings), timeout=2.0, trust_env=False
        ).json()["pid"]
    except httpx.HTTPError:
        return 0


def test_a_release_whose_canary_pool_dies_aborts_and_no_client_notices(serving_stack, tmp_path):
    stack, model = serving_stack, "orphaned"
    champion, files = tiny_version(tmp_path, model, "1.0.0", bias=0.5)
    candidate, candidate_files = tiny_version(tmp_path, model, "1.1.0", bias=0.6)
    stack.load("stable", champion, files)
    stack.load("canary", candidate, candidate_files)
    store = MemoryStore()
    ports = ReleasePorts(
        releases=store.releases, intents=store.intents, ledger=store.ledger, feedback=store.feedback,
        predictions=releasing.prediction_log(stack.settings), pool=stack.pool, router=stack.router,
        journal=MemoryJournal(), registry=_Registry(candidate), labels=_Labels(), files=tmp_path, trusted=TRUSTED,
        checks=lambda spec, files: (),
    )  # fmt: skip
    release = store.releases.save(canary(champion, candidate), None, [])
    stack.router.apply(
        Route(
            model=model,
            stable=target(champion, "r1"),
            canary=target(candidate, release.release_id),
            canary_weight=20.0,
        )
    )
    until(lambda: dict(stack.router.healthy(model)) == {"stable": 2, "canary": 1}, 60, "all healthy")
    port = stack.settings.ports("canary")[0]
    passes = 0
    with Load(stack.settings.port_envoy, f"/v2/models/{model}/infer", tensor_body(), threads=4) as seen:
        seen.wait_for(200)
        stack.kill(port)
        until(lambda: stack.router.healthy(model)["canary"] == 0, 20, "its death is seen")
        while not (
            release := reconcile(release.release_id, ports, NOW + timedelta(seconds=10 * passes))
        ).phase.is_final():
            passes += 1
            assert passes < 20
        seen.wait_for(200)
    stack.start_server("canary", port)
    stack.wait_for_server(port)
    assert seen.lost_to_a_kill == 0, seen.failures
    assert release.phase is Phase.ROLLED_BACK
    limit = release.policy.criteria.max_errors_in_a_row
    assert limit <= passes <= limit + 1, "ten errors, ten seconds apart, and one pass to let go"
    assert f"could not be measured {limit} times in a row" in release.note
    assert stack.router.route(model).canary is None


class _Registry:
    """Knows the candidate alone, under its key."""

    def __init__(self, candidate) -> None:
        self._candidate = candidate

    def find(self, model, which):
        return self._candidate if which == f"key:{self._candidate.key}" else None


class _Labels:
    def tag(self, *args) -> None: ...
    def alias(self, *args) -> None: ...


def canary(champion, candidate) -> ReleaseStatus:
    spec = catalog.spec("test_failure_predictor")
    return ReleaseStatus(
        release_id="r2", candidate=candidate, champion=champion, champion_release_id="r1",
        policy=spec.release, approval_policy=spec.approval, policy_digest="p", spec_digest="p",
        started_at=NOW, entered_at=NOW,
        phase=Phase.CANARY,
        gate=GateReport(digest=candidate.digest, risk=Risk.LOW, rules=(PASSED,)),
        approvals=(Approval(digest=candidate.digest, actor="ann", at=NOW, channel="cli", note=""),),
    )  # fmt: skip
