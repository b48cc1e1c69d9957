"""An A/B test of live traffic through a real Envoy and real model servers, to its analysis by command."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from serving_stack import inside, target
from some_source import KEY, source
from tiny_models import tensor_body, tiny_version

from perennial import catalog
from perennial.cli import main
from perennial.core.events import Entry
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import Route
from perennial.core.release_spec import ReleaseSpec
from perennial.serving import headers
from perennial.serving.evidence.sources import FeedbackSources
from perennial.settings import Settings
from perennial.wiring import database, releasing

pytestmark = pytest.mark.traffic
MODEL = "test_failure_predictor"
USERS = 400
WORSE, BETTER = -3.0, 1.0
"""Bias of the champion and of the candidate: with the same input one says no, the other yes."""


@pytest.fixture(scope="module")
def release(serving_stack, tmp_path_factory) -> ReleaseStatus:
    """An A/B release in its step, as the store and the ledger have it, with its route live."""
    folder = tmp_path_factory.mktemp("ab")
    champion = tiny_version(folder, MODEL, "1.0.0", WORSE)
    candidate = tiny_version(folder, MODEL, "1.1.0", BETTER)
    serving_stack.load("stable", *champion)
    serving_stack.load("canary", *candidate)
    spec = catalog.spec(MODEL, Settings())
    sticky = {"header": "x-user-id", "cookie": "unit", "cookie_age": "P1D", "experiment": None}
    policy = ReleaseSpec.model_validate(spec.release.model_dump() | {"strategy": "ab", "sticky": sticky})
    begun = datetime.now(UTC) - timedelta(seconds=1)
    status = ReleaseStatus(
        release_id="ab12", candidate=candidate[0], champion=champion[0], champion_release_id="r1", policy=policy,
        approval_policy=spec.approval, policy_digest="p", spec_digest="p",
        started_at=begun, phase=Phase.CANARY, entered_at=begun,
    )  # fmt: skip
    entry = Entry(
        at=begun,
        actor="machine",
        kind="release.canary",
        model=MODEL,
        release_id="ab12",
        payload={"weight": 50},
    )
    database.store(serving_stack.settings).releases.save(status, None, [entry])
    serving_stack.router.apply(
        Route(
            model=MODEL, stable=target(champion[0], "r1"), canary=target(candidate[0], "ab12"),
            canary_weight=50.0, assignment=status.assignment,
        )
    )  # fmt: skip
    return status


@pytest.fixture(scope="module")
def asked(serving_stack, release) -> dict[str, set[str]]:
    """Every user asks twice and rewards the answers; user -> versions that answered."""
    answered: dict[str, set[str]] = {}
    url = f"http://127.0.0.1:{serving_stack.settings.port_envoy}"
    FeedbackSources(serving_stack.settings.feedback_sources).put(source())
    key = {headers.FEEDBACK_KEY: KEY}
    with httpx.Client(trust_env=False) as client:
        for _ in range(2):
            labels = []
            for number in range(USERS):
                user = f"user-{number}"
                client.cookies.clear()
                answer = client.post(
                    f"{url}/v2/models/{MODEL}/infer", json=tensor_body(), headers={"x-user-id": user}
                ).json()
                version = answer["model_version"]
                answered.setdefault(user, set()).add(version)
                name = answer["parameters"]["prediction_ids"]
                reward = number % 7 + (2.0 if version == "1.1.0" else 0.0)
                labels.append({"prediction_id": name, "label": 1, "reward": reward})
            accepted = client.post(f"{url}/v1/feedback", json={"labels": labels}, headers=key)
            assert accepted.json() == {"accepted": USERS}
    return answered


def test_users_keep_their_sides_and_the_log_knows_them_by_pseudonym(serving_stack, release, asked):
    assert all(len(versions) == 1 for versions in asked.values())
    log = releasing.prediction_log(serving_stack.settings).read(MODEL)
    log = log[log["experiment"] == "ab12"]
    assert (len(log), log["unit"].nunique()) == (2 * USERS, USERS)
    assert (log["arm"] == log["version"]).all()
    assert not log["unit"].str.contains("user").any()


def test_analysis_by_command(serving_stack, release, asked, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PERENNIAL_HOME", str(serving_stack.settings.home))
    treated = sum(versions == {"1.1.0"} for versions in asked.values())
    assert main(["ab", "analyse", MODEL, "--json"]) == 0
    right = json.loads(capsys.readouterr().out)
    assert right["experiment"]["release_id"] == "ab12"
    assert right["units"] == {"by_variant": {"1.0.0": USERS - treated, "1.1.0": treated}, "crossed": 0}
    assert [arm["total"] for arm in right["arms"]] == [0, treated]
    assert right["comparisons"][0]["decision"] == "PROMOTE"
    assert not right["ratio"]["alarm"]
    page = tmp_path / "ab.html"
    assert (
        main(["ab", "analyse", MODEL, "--release", "ab12", "--outcome", "reward", "--html", str(page)]) == 0
    )
    output = capsys.readouterr().out
    assert "PROMOTE" in output
    assert "+2" in output
    assert "ab12" in page.read_text()
    assert main(["ab", "analyse", MODEL, "--release", "other"]) != 0
    assert main(["ab", "analyse", MODEL, "--kind", "count"]) == 2


def test_metrics_of_the_arms(serving_stack, release, asked):
    pages = [
        httpx.get(
            f"http://127.0.0.1:{port}/metrics", headers=inside(serving_stack.settings), trust_env=False
        ).text
        for pool in ("stable", "canary")
        for port in serving_stack.settings.ports(pool)
    ]
    labels = [f'model="{MODEL}"', 'experiment="ab12"', 'arm="1.1.0"']
    counted = [
        line
        for page in pages
        for line in page.splitlines()
        if line.startswith("ab_test_predictions_total{")
        and labels[1] in line  # others had the servers before
    ]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == 2 * USERS
    assert any(all(label in line for label in labels) for line in counted)
    assert "ab_test_prediction_latency_seconds_bucket{" in pages[0]
    if shutil.which("promtool"):
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=pages[-1], capture_output=True, text=True, check=False
        )
        assert "ab_test" not in checked.stdout + checked.stderr, checked.stderr
