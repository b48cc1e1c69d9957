"""A champion of a running plant is saved and answers elsewhere as it did, with its record."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import httpx
import pytest
from live_releases import BODY, MODEL, PATH, LiveReleases, now
from serving_stack import ServingStack, until
from signing import FOLDER

from perennial.cli import main
from perennial.flows.governance.ledger_check import check
from perennial.local.backup.make import make
from perennial.local.backup.restore import restore
from perennial.settings import Settings
from perennial.wiring import database, releasing, versions

pytestmark = pytest.mark.traffic


def ask(stack) -> httpx.Response:
    url = f"http://127.0.0.1:{stack.settings.port_envoy}{PATH}"
    return httpx.post(url, json=BODY, timeout=30, trust_env=False)


def answers(stack) -> bool:
    try:
        return ask(stack).status_code == 200
    except httpx.HTTPError:
        return False


def why(settings: Settings, at: str, monkeypatch, capsys) -> dict:
    with monkeypatch.context() as patch:
        patch.setenv("PERENNIAL_HOME", str(settings.state))
        capsys.readouterr()
        assert main(["why", MODEL, "--at", at, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_champion_answers_from_a_backup(live_releases: LiveReleases, tmp_path, monkeypatch, capsys):
    plant, champion = live_releases.stack, live_releases.champion
    plant.wait_healthy(MODEL)
    answer, at = ask(plant), now().isoformat()
    assert answer.status_code == 200, answer.text
    explained = why(plant.settings, at, monkeypatch, capsys)
    saved = make(plant.settings, tmp_path / "backup", None, now(), print)

    new = Settings(home=tmp_path / "elsewhere", trusted_keys=FOLDER)
    restore(new, tmp_path / "backup", None, print)
    assert check(database.store(new).ledger, None, None, lambda *_: False).newest == saved.ledger.hash
    assert why(new, at, monkeypatch, capsys) == explained
    assert explained["served"]["digest"] == champion.digest
    log = releasing.prediction_log(new).read(MODEL)
    assert champion.digest in set(log["digest"])
    fetched = versions.registry(new).fetch(champion, tmp_path / "fetched")
    assert (fetched / "model.onnx").is_file()
    with closing(sqlite3.connect(new.mlflow_dir / "mlflow.db")) as connection:
        assert not [line for line in connection.iterdump() if str(plant.settings.state) in line]

    stack = ServingStack(new.state)
    try:
        stack.start_envoy()
        port = stack.settings.ports("stable")[0]
        stack.start_server("stable", port)
        stack.wait_for_server(port)
        until(lambda: answers(stack), 120, "the restored champion")
        assert ask(stack).json()["outputs"] == answer.json()["outputs"]
    finally:
        stack.stop()
