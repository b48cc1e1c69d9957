"""`perennial doctor` and other servers: what they answer, that none holds it up, and that no secret is shown."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from perennial.cli import main
from perennial.errors import ChecksFailed
from perennial.local.doctor import configured, examination
from perennial.local.doctor.finding import Finding, State
from perennial.settings import load
from perennial.wiring import training

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """A server that calls itself healthy, refuses every account, and has another time."""
    told = SimpleNamespace(late=timedelta())

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200 if self.path == "/health" else 401)
            self.send_header("Date", format_datetime(datetime.now(UTC) - told.late, usegmt=True))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        told.url = f"http://127.0.0.1:{running.server_port}"
        yield told
        running.shutdown()


def test_a_server_elsewhere_with_another_time_that_does_not_know_us(home, given, doctor, server):
    given(tracking_url=server.url)
    assert doctor()["clock of MLflow"]["state"] == "ok"
    server.late = timedelta(hours=1)
    rows = doctor()
    assert rows["MLflow"]["state"] == "ok"
    assert "s from ours" in rows["clock of MLflow"]["what"]
    assert "NTP" in rows["clock of MLflow"]["fix"]
    assert "training is refused: status 401" in rows["MLflow account"]["what"]


AWAY = (
    "database", "tuning storage", "MLflow's database", "Airflow's database", "queues", "data remote",
    "channel 1-json",
)  # fmt: skip


def test_no_secret_is_shown_and_what_does_not_answer_is_named(home, given, capsys):
    given(
        database_url="postgresql+psycopg://ann:db-geheim@127.0.0.1:1/x",
        tuning_url="postgresql+psycopg://ann:tuning-geheim@127.0.0.1:1/x",
        mlflow_database_url="postgresql+psycopg://ann:mlflow-geheim@127.0.0.1:1/y",
        airflow_database_url="postgresql+psycopg://ann:airflow-geheim@127.0.0.1:1/z",
        celery_broker_url="redis://:queue-geheim@127.0.0.1:1/0",
        dvc_remote="nosuch://ann:remote-geheim@host/x",
        notify=f"json://ann:notify-geheim@127.0.0.1:1/path-geheim {SLACK}",
        airflow_password="airflow-geheim",
        token="token-geheim",
    )  # fmt: skip
    accounts = json.loads((home / "accounts.json").read_text())
    for options in ([], ["--json"]):
        assert main(["doctor", "--timeout", "120", *options]) == ChecksFailed.exit_code
        told = "".join(capsys.readouterr())
        assert "geheim" not in told
        assert not [part for part in SLACK.split("/")[2:] if part in told]
        assert not [name for name, account in accounts.items() if account["password"] in told]
        assert (home / "secrets" / "internal").exists() is False
        for name in AWAY:
            assert name in told
    rows = {row["check"]: row["state"] for row in json.loads(told.rpartition("]")[0] + "]")}
    assert {rows[name] for name in AWAY} == {"problem"}


def test_what_never_answers_is_late_and_holds_nobody_up(home, given, doctor):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given(database_url=f"postgresql+psycopg://ann@127.0.0.1:{silent.getsockname()[1]}/x")
        rows = doctor("--timeout", "2")
    assert rows["database"]["what"] == "no answer within 2 s"


def test_a_check_that_fails_itself_does_not_hide_the_others(home, monkeypatch):
    def broken(settings: object) -> Iterator[Finding]:
        raise ValueError("what was not expected")

    monkeypatch.setattr(examination, "HERE", (broken, configured.values))
    findings = {finding.check: finding for finding in examination.examine(load(), 120)}
    assert "ValueError" in findings["broken"].what
    assert findings["settings"].state is State.OK


@pytest.mark.server
def test_a_real_mlflow(mlflow_server, given, doctor):
    given(
        home=mlflow_server.settings.state,
        tracking_url=mlflow_server.url,
        people=mlflow_server.settings.people,
    )
    rows = doctor()
    for name in ("MLflow", "clock of MLflow", "MLflow account", "MLflow version"):
        assert rows[name]["state"] == "ok", rows[name]


@pytest.mark.server
def test_a_bucket_that_is_there_and_one_that_is_not(home, given, doctor, s3, tmp_path):
    s3.create_bucket(Bucket="data")
    (tmp_path / "rows").write_text("1\n")
    training.data_store(load()).commit({"rows": tmp_path / "rows"}, "in a folder, before the bucket")
    given(dvc_remote="s3://data/revisions")
    assert training.data_store(load()).remote_state() == "s3 remote data answers"
    given(dvc_remote="s3://other/revisions")
    row = doctor()["data remote"]
    assert (row["state"], row["what"]) == ("problem", "there is no bucket other")


def test_an_issuer_with_its_keys_and_clock(home, given, doctor, issuer):
    issuer.control(wrong={})
    given(**issuer.settings)
    rows = doctor()
    assert {
        rows[name]["state"] for name in ("issuer", "issuer: keys", "issuer: addresses", "clock of issuer")
    } == {"ok"}
    issuer.control(wrong={"issuer": "https://other.example"})
    assert "calls itself something else: https://other.example" in doctor()["issuer"]["what"]
    issuer.control(wrong={"description": {"token_endpoint": "http://sso.example/token"}})
    assert (
        "neither https nor on loopback: token_endpoint http://sso.example/token" in doctor()["issuer"]["what"]
    )
    issuer.control(wrong={})
    given(oidc_issuer=f"{issuer.address}/nowhere")
    assert "404" in doctor()["issuer"]["what"]
