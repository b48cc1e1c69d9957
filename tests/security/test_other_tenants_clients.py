"""Clients of another tenant: its keys and its internal secret at each route of Envoy and of the model servers."""

from __future__ import annotations

import pytest
from one_server import Server
from starlette.routing import Route as ServerRoute
from starlette.testclient import TestClient

from perennial.adapters.envoy.routes import route_configuration
from perennial.cli import main
from perennial.core.release.traffic import Route, Target
from perennial.errors import PerennialError
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import HEALTH, Door
from perennial.settings import Settings

MODEL = "tiny"
TELLING_NOTHING = {"/v2", "/v2/", "/v2/health/live", "/v2/health/ready"}
"""Paths that are answered to everybody: name of the server, and whether it is up."""
STABLE = Target(version="1.0.0", digest="d" * 64, release_id="r1")


def routed() -> list[tuple[str, str]]:
    """Return method and path of each route of REST that Envoy has for a model."""
    entries = route_configuration([Route(model=MODEL, stable=STABLE)])["virtual_hosts"][0]["routes"]
    pairs = set()
    for entry in entries:
        match = entry["match"]
        methods = [h["string_match"]["exact"] for h in match.get("headers", ()) if h["name"] == ":method"]
        if "path" in match and "grpc" not in match:
            pairs |= {(method, match["path"]) for method in methods}
    return sorted(pairs)


class Plant:
    """A tenant's model server behind its door, with a client of every right."""

    def __init__(self, folder, name: str, monkeypatch, capsys) -> None:
        settings = Settings(home=folder / name, tenant=name)
        monkeypatch.setenv("PERENNIAL_HOME", str(settings.state))
        monkeypatch.setenv("PERENNIAL_TENANT", name)
        rights = ("predict", "explain", "repository", "feedback")
        assert main(["key", "add", "shop", *(f"--right={right}" for right in rights)]) == 0
        self.key = capsys.readouterr().out.strip()
        self.secret = settings.internal_secret
        server = Server(folder / f"{name}-serving")
        self.application = server.application
        self.door = Door(server.application, self.secret, ClientKeys(settings.client_keys))
        self.client = TestClient(self.door)

    def ask(self, method: str, path: str, key: str, secret: str, public: bool = True) -> int:
        sent = {headers.SECRET: secret, "authorization": f"Bearer {key}"}
        sent |= {headers.PUBLIC: "true"} if public else {}
        return self.client.request(method, path, json={}, headers=sent).status_code


@pytest.fixture
def plants(tmp_path, monkeypatch, capsys) -> tuple[Plant, Plant]:
    monkeypatch.setattr("perennial.catalog.spec", lambda name, settings: None)
    return Plant(tmp_path, "acme", monkeypatch, capsys), Plant(tmp_path, "globex", monkeypatch, capsys)


def test_each_route_of_envoy_refuses_the_keys_of_another_tenant(plants):
    acme, globex = plants
    routes = routed()
    assert len(routes) >= 10
    for method, path in routes:
        refused = {globex.ask(method, path, key, globex.secret) for key in (acme.key, "")}
        own = globex.ask(method, path, globex.key, globex.secret)
        if path in TELLING_NOTHING:
            assert refused == {own}, path
        else:
            assert refused == {401}, (method, path)
            assert own not in (401, 403), (method, path)


def test_each_path_of_a_model_server_refuses_the_secret_of_another_tenant(plants):
    """As Envoy of the one plant would ask, were it led to the servers of the other."""
    acme, globex = plants
    rest = globex.application._rest  # the table of all routes, so that a new one is asked, too
    routes = [route for route in rest.routes if isinstance(route, ServerRoute)]
    assert len(routes) >= 10
    for route in routes:
        path = route.path.replace("{model}", MODEL).replace("{version}", "1.0.0")
        for public in (True, False):
            status = globex.ask(min(route.methods), path, globex.key, acme.secret, public)
            assert status == (403 if path != HEALTH else status), path


def test_a_call_of_grpc_is_refused_by_the_same_door(plants):
    acme, globex = plants
    given = {headers.SECRET: globex.secret, headers.PUBLIC: "true", "authorization": f"Bearer {acme.key}"}
    sent = {name.encode(): value.encode() for name, value in given.items()}
    with pytest.raises(PerennialError) as refused:
        globex.door.admit(sent, f"/v2/models/{MODEL}/infer")
    assert refused.value.http_status == 401
