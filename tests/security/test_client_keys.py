"""API keys of clients and TLS at the public listener."""

from __future__ import annotations

import json
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from envoy_split_stack import SplitStack
from one_server import CONTEXT, Server
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

from perennial.cli import main
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Door
from perennial.settings import Settings
from perennial.wiring import database

MODEL = "tiny"
INFER, PREDICT = f"/v2/models/{MODEL}/infer", f"/v1/models/{MODEL}/predict"
ENTITY = {"entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT}
SECRET = "inside"


class Doors:
    """A server behind its door, as clients and as the installation ask it."""

    def __init__(self, folder) -> None:
        self.server = Server(folder / "serving")
        self.server.hold(tiny_version(folder, MODEL, "1.0.0", bias=0.0, service="tiny_service"))
        self.settings = Settings(home=folder, host="0.0.0.0")  # noqa: S104
        self.now = datetime.now(UTC)
        door = Door(
            self.server.client.app, SECRET, ClientKeys(self.settings.client_keys), clock=lambda: self.now
        )
        self._client = TestClient(door)

    def ask(self, path=INFER, body=None, key=None, method="POST", **sent):
        given = {headers.SECRET: SECRET, headers.PUBLIC: "true", **sent}
        if key is not None:
            given["authorization"] = f"Bearer {key}"
        return self._client.request(method, path, json=body or tensor_body(), headers=given).status_code

    def inside(self) -> int:
        return self._client.post(INFER, json=tensor_body(), headers={headers.SECRET: SECRET}).status_code


@pytest.fixture
def doors(tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    return Doors(tmp_path)


def added(capsys, *arguments) -> str:
    assert main(["key", "add", *arguments]) == 0
    return capsys.readouterr().out.strip()


def test_no_key_no_answer(doors, capsys):
    key = added(capsys, "shop")
    assert doors.ask(key=key) == 200
    name, _, secret = key.rpartition("_")
    for wrong in (
        None,
        "",
        "shop",
        f"{name}_",
        f"{name}_{secret[:-1]}0x",
        key[:-1],
        f"pc_other_{secret}",
        "\xff",
    ):
        sent = {} if wrong is None else {"authorization": f"Bearer {wrong}".encode("latin-1")}
        assert doors.ask(**sent) == 401, wrong
    for path in (f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/ready", f"/v2/models/{MODEL}/versions/1.0.0"):
        assert (doors.ask(path, method="GET"), doors.ask(path, method="GET", key=key)) == (401, 200)
    assert doors.ask("/v2/health/live", method="GET") == 200
    assert doors.inside() == 200, "the installation itself needs no key"


def test_rights_by_model_and_kind(doors, capsys, monkeypatch):
    monkeypatch.setattr("perennial.catalog.spec", lambda name, settings: None)
    other, plain = added(capsys, "other", "--model", "else"), added(capsys, "plain", "--model", MODEL)
    explaining = added(capsys, "explaining", "--right", "predict", "--right", "explain")
    only = added(capsys, "only", "--right", "explain")
    assert [doors.ask(key=key) for key in (other, plain, explaining, only)] == [403, 200, 200, 403]
    explain = {**ENTITY, "explain": True}
    assert doors.ask(PREDICT, ENTITY, plain) == 200
    assert doors.ask(PREDICT, explain, plain) == 403
    assert doors.ask(PREDICT, explain, explaining) == 400, "allowed; this version has no background"


def test_changes_count_at_once_and_are_in_the_ledger(doors, capsys):
    first = added(capsys, "shop")
    assert doors.ask(key=first) == 200
    second = added(capsys, "shop", "--days", "1")
    assert (doors.ask(key=first), doors.ask(key=second)) == (401, 200)
    doors.now += timedelta(days=2)
    assert doors.ask(key=second) == 401
    assert main(["key", "list", "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)[0]["client"] == "shop"
    assert second.rsplit("_", 1)[1] not in shown
    assert main(["key", "revoke", "shop"]) == 0
    doors.now -= timedelta(days=2)
    assert doors.ask(key=second) == 401
    rows = database.store(doors.settings).ledger.rows()
    assert [row.entry.kind for row in rows] == ["key.added", "key.added", "key.revoked"]


def test_only_hashes_are_stored_and_an_open_file_is_refused(doors, capsys):
    key = added(capsys, "shop")
    path = doors.settings.client_keys
    assert key.rsplit("_", 1)[1] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    assert doors.ask(key=key) == 500
    path.chmod(0o600)
    assert doors.ask(key=key) == 200
    assert main(["key", "add", "no_name!"]) == 2


def test_an_open_address_without_keys_does_not_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_HOST", "0.0.0.0")  # noqa: S104
    for command in (["router", "run"], ["local", "up"]):
        assert main(command) == 11
        assert "perennial key add" in capsys.readouterr().err


@pytest.mark.server
def test_tls_at_the_public_listener(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    with SplitStack(tmp_path, tls=(certificate, key)) as stack:
        url = f"127.0.0.1:{stack.port}/v2/models/split/infer"
        trusting = ssl.create_default_context(cafile=certificate)
        assert httpx.post(f"https://{url}", json={}, verify=trusting, trust_env=False).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"http://{url}", json={}, trust_env=False)
        with pytest.raises(httpx.ConnectError):
            httpx.post(f"https://{url}", json={}, trust_env=False)
        assert stack.router.differences() == ()
