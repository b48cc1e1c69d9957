"""`perennial doctor` on a machine alone: each planted fault is named with its fix, and nothing is changed."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from perennial.local import supervisor
from perennial.local.doctor import configured, stored
from perennial.local.doctor.finding import State
from perennial.settings import load
from perennial.wiring import database

MODEL = "test_failure_predictor"


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def test_a_fresh_machine_is_told_what_to_do_and_stays_as_it_is(given, doctor, tmp_path):
    rows = doctor()
    assert (rows["state folder"]["state"], rows["state folder"]["fix"]) == ("down", "perennial local setup")
    assert "the first use creates" in rows["database"]["what"]
    assert not (tmp_path / "home").exists()


def test_a_plant_that_is_down_is_told_and_stays_as_it_is(home, doctor):
    database.store(load()).ledger.end()
    before = tree(home)
    rows = doctor()
    assert tree(home) == before
    for name in ("processes", "MLflow", "Airflow", "Envoy"):
        assert (rows[name]["state"], rows[name]["fix"]) == ("down", "perennial local up")
    for name in ("settings", "accounts file", "rights", "signing key", "database", "models"):
        assert rows[name]["state"] == "ok", rows[name]


@pytest.mark.parametrize(
    ("path", "mode", "check", "fix"),
    [
        ("", 0o755, "rights", "chmod 700"),
        ("accounts.json", 0o644, "accounts file", "chmod 600"),
        ("keys/signing.pem", 0o640, "signing key", "chmod 600"),
        ("airflow/passwords.json", 0o604, "rights", "chmod 600"),
        ("secrets.json", 0o660, "rights", "chmod 600"),
    ],
    ids=["state", "accounts", "signing-key", "passwords", "airflow-keys"],
)
def test_what_others_may_read_is_named(home, doctor, path, mode, check, fix):
    (home / path).chmod(mode)
    row = doctor()[check]
    assert row["state"] == "problem"
    assert str(home / path) in row["what"]
    assert fix in row["fix"]


def test_a_port_of_somebody_else(home, given, doctor):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        given(port_mlflow=port)
        (taken,) = [error for error in supervisor.taken_ports(load()) if str(port) in error.message]
        assert doctor()["port"]["state"] == "problem"
    assert taken.message.startswith(f"port {port} for MLflow is taken")
    assert "PERENNIAL_PORT_MLFLOW" in taken.hint


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("ports_canary_grpc", "1,2", "settings: ports"),
        ("jwt_issuer", "somebody", "settings: JWT"),
        ("host", "192.0.2.1", "settings: clients"),
        ("celery_broker_url", "redis://127.0.0.1:1/0", "settings: databases"),
        ("tls_pages", "true", "settings: certificate files"),
        ("client_rate", "many", "settings"),
    ],
)
def test_a_wrong_setting(home, given, doctor, name, value, check):
    given(**{name: value})
    assert doctor()[check]["state"] == "problem"


def test_a_wrong_spec_is_named_and_the_others_are_read(home, given, doctor, tmp_path):
    shutil.copytree(load().configs, tmp_path / "project" / "configs")
    spec = tmp_path / "project" / "configs" / "models" / f"{MODEL}.yaml"
    spec.write_text(spec.read_text() + "\nnonsense: 1\n")
    given(project=tmp_path / "project")
    row = doctor()[f"model {MODEL}"]
    assert row["state"] == "problem"
    assert "nonsense" in row["what"]


def test_packages_other_than_the_pins(tmp_path):
    (tmp_path / "constraints.txt").write_text("# pins\nclick==0.1\nnot-installed-here==1.0\n")
    (row,) = configured.packages(SimpleNamespace(shipped=lambda name: tmp_path / name))
    assert row.state is State.PROBLEM
    assert "instead of 0.1" in row.what
    assert "not-installed-here" not in row.what
    assert "pip install -c" in row.fix


@pytest.mark.parametrize(("free", "state"), [(2**20, "problem"), (2 << 30, "warning"), (2**40, "ok")])
def test_a_full_disk(home, monkeypatch, free, state):
    monkeypatch.setattr(stored.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert {finding.state for finding in stored.disks(load())} == {State(state)}
