"""The model repository: who may list and ask, and that no call changes what a release owns."""

from __future__ import annotations

import pytest
from one_server import Server
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

from perennial.cli import main
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Door
from perennial.settings import Settings

INDEX = "/v2/repository/index"
LOAD, UNLOAD = "/v2/repository/models/tiny/load", "/v2/repository/models/tiny/unload"
READY = {"name": "tiny", "version": "1.0.0", "state": "READY", "reason": ""}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "serving")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", bias=0.0))
    return server


def test_the_index_says_why_a_version_is_not_ready(server, tmp_path):
    assert server.client.post(INDEX).json() == [READY]
    ref, files = tiny_version(tmp_path, "tiny", "1.1.0", bias=1.0)
    (files / "model.onnx").write_bytes(b"torn")
    server.hold((ref, files))
    first, second = server.client.post(INDEX, json={}).json()
    assert (first, second["state"]) == (READY, "UNAVAILABLE")
    assert "model.onnx" in second["reason"]
    assert server.client.post(INDEX, json={"ready": True}).json() == [READY]
    refused = server.client.post(LOAD)
    assert (refused.status_code, "model.onnx" in refused.json()["error"]) == (409, True)


def test_load_confirms_and_unload_is_refused_for_a_version_of_a_release(server):
    assert server.client.post(LOAD, json={"parameters": {}}).status_code == 200
    refused = server.client.post(UNLOAD)
    assert (refused.status_code, "1.0.0" in refused.json()["error"]) == (409, True)
    assert "release" in refused.json()["hint"]
    assert server.client.post("/v2/models/tiny/infer", json=tensor_body()).status_code == 200
    for path in (LOAD, UNLOAD):
        assert server.client.post(path.replace("tiny", "nobody")).status_code == 404


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"ready": 1}', b'"x"'])
def test_a_wrong_body_of_the_index_is_400(server, body):
    assert server.client.post(INDEX, content=body).status_code == 400


def test_only_a_client_with_the_right_may_ask(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr("perennial.catalog.spec", lambda name, settings: None)
    # The repository needs a key also where predictions need none.
    door = Door(server.client.app, "inside", ClientKeys(Settings(home=tmp_path).client_keys), required=False)
    client = TestClient(door, headers={headers.SECRET: "inside"})

    def key(name, *arguments):
        assert main(["key", "add", name, *arguments]) == 0
        return capsys.readouterr().out.strip()

    def status(path, key=None):
        sent = {headers.PUBLIC: "true"} | ({"authorization": f"Bearer {key}"} if key else {})
        return client.post(path, headers=sent).status_code

    plain, operator = key("plain"), key("operator", "--right", "repository")
    other = key("other", "--right", "repository", "--model", "else")
    assert [status(INDEX, each) for each in (None, plain, operator)] == [401, 403, 200]
    assert [status(LOAD, each) for each in (None, plain, other, operator)] == [401, 403, 403, 200]
    assert status(UNLOAD, operator) == 409
    seen = client.post(INDEX, headers={headers.PUBLIC: "true", "authorization": f"Bearer {other}"})
    assert (seen.status_code, seen.json()) == (200, [])
    assert client.post(INDEX).json() == [READY], "the installation itself needs no key"
