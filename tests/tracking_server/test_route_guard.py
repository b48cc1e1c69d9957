"""The whole of MLflow's tracking server is guarded: each route has a rule, and readers write nothing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import httpx
import pytest
from mlflow_server import PEOPLE, Client

from perennial import account_file
from perennial.core.governance.identity import Role
from perennial.core.governance.tracking_rules import Access, access_of, experiment_refusal, route_refusal
from perennial.local.supervisor import set_up
from perennial.settings import Settings

SERVER = [pytest.mark.server, pytest.mark.timeout(600)]
PREFIXES = ("/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/", "/api/2.0/preview/mlflow/")
LIST_ROUTES = """
import json, os, re, sys
os.environ.update(MLFLOW_FLASK_SERVER_SECRET_KEY="x" * 32, MLFLOW_AUTH_ADMIN_PASSWORD="a password of tests",
                  MLFLOW_TRACKING_URI="sqlite:///" + sys.argv[1] + "/m.db")
os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
from pathlib import Path
Path(sys.argv[1], "auth.ini").write_text(
    "[mlflow]\\ndefault_permission = READ\\ndatabase_uri = sqlite:///" + sys.argv[1] + "/auth.db\\n"
    "admin_username = admin\\nadmin_password = a password of tests\\n"
    "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\\n")
os.environ["MLFLOW_AUTH_CONFIG_PATH"] = sys.argv[1] + "/auth.ini"
from mlflow.server import app as flask_app, auth
served = auth.create_app()
found = {(m, re.sub(r"<[^>]+>", "x", r.rule)) for r in flask_app.url_map.iter_rules() for m in r.methods}
def walk(routes, prefix=""):
    for route in routes:
        if getattr(route, "methods", None):
            found.update((m, re.sub(r"{[^}]+}", "x", prefix + route.path)) for m in route.methods)
        elif hasattr(route, "original_router"):
            walk(route.original_router.routes, prefix + (getattr(route.include_context, "prefix", "") or ""))
        elif getattr(route, "routes", None) and not hasattr(route.app, "wsgi_app"):
            walk(route.routes, prefix + getattr(route, "path", ""))
walk(served.routes)
print(json.dumps(sorted(f for f in found if f[0] not in ("HEAD", "OPTIONS"))))
"""


@pytest.fixture(scope="module")
def routes(tmp_path_factory) -> list[tuple[str, str]]:
    """Method and path of every route that MLflow itself says it has."""
    folder = str(tmp_path_factory.mktemp("routes"))
    done = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES, folder], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(pair) for pair in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.slow
def test_every_route_of_mlflow_is_named_by_a_rule(routes):
    assert len(routes) > 400, "MLflow's table was walked, FastAPI's part too"
    unnamed = [pair for pair in routes if access_of(*pair) is None]
    assert not unnamed, "say in tracking_rules who may call these"


def test_nothing_but_reading_is_open_to_readers(routes):
    """Every route that a viewer may call and that is no GET is a search."""
    writing = {path.split("mlflow/")[-1] for method, path in routes
               if method != "GET" and not route_refusal(method, path, {Role.VIEWER}, admin=False)}  # fmt: skip
    searches = {"experiments/search", "runs/search", "logged-models/search", "traces/search", "issues/search"}
    searches |= {"datasets/search", "experiments/search-datasets", "registered-models/get-latest-versions"}
    assert writing <= searches | {"/graphql"}


@pytest.mark.parametrize(
    "path", ["/api/2.0/mlflow/new-thing", "//api/2.0/mlflow/runs/get", "/api/2.0/mlflow/runs/get/", "/x", ""]
)
def test_what_no_rule_names_is_refused_for_everybody(path):
    assert access_of("POST", path) is None
    assert route_refusal("POST", path, set(Role), admin=True)


def test_a_location_of_artifacts_is_refused_in_both_spellings():
    assert experiment_refusal({"name": "x", "artifact_location": "/dags"})
    assert experiment_refusal({"name": "x", "artifactLocation": "/dags"})
    assert experiment_refusal(None)
    assert not experiment_refusal({"name": "x"})


@pytest.mark.parametrize("name", ["vic", "ann", "olga", "release", "admin"])
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.server
def test_only_training_creates_experiments_and_runs(mlflow_server, name, prefix, tmp_path):
    client = mlflow_server.client(name)
    made = client.post("experiments/create", {"name": f"x-{name}{prefix}"}, prefix)
    assert made.status_code == 403
    placed = {"name": f"y-{name}{prefix}", "artifact_location": str(tmp_path)}
    assert client.post("experiments/create", placed, prefix).status_code == 403
    assert client.post("runs/create", {"experiment_id": "0"}, prefix).status_code == 403
    assert (
        client.http.post(
            "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=x&path=evil.py", content=b"print()"
        ).status_code
        == 403
    )


@pytest.mark.server
def test_training_creates_them_but_neither_places_nor_deletes_them(mlflow_server, tmp_path):
    training: Client = mlflow_server.client("training")
    placed = {"name": "placed", "artifact_location": str(tmp_path)}
    for prefix in PREFIXES:
        assert training.post("experiments/create", placed, prefix).status_code == 403
    made = training.post("experiments/create", {"name": "honest"})
    assert made.status_code == 200, made.text
    experiment = made.json()["experiment_id"]
    run = training.post("runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"]
    for prefix in PREFIXES:
        assert training.post("runs/delete", {"run_id": run}, prefix).status_code == 403
        assert training.post("experiments/delete", {"experiment_id": experiment}, prefix).status_code == 403
    assert (
        mlflow_server.client("vic").http.get("/api/2.0/mlflow/runs/get", params={"run_id": run}).status_code
        == 200
    )


@pytest.mark.server
def test_parts_that_nobody_uses_are_closed_to_the_admin_too(mlflow_server):
    http = mlflow_server.client("admin").http
    for method, path in (
        ("POST", "/api/3.0/mlflow/gateway/secrets/create"), ("POST", "/gateway/x/mlflow/invocations"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/dags/evil.py"), ("POST", "/ajax-api/3.0/jobs/"),
        ("POST", "/v1/traces"), ("POST", "/api/2.0/mlflow/webhooks"), ("GET", "/api/2.0/mlflow/nothing-of-ours"),
    ):  # fmt: skip
        assert http.request(method, path, json={}).status_code == 403, path


@pytest.mark.server
def test_the_page_still_reads(mlflow_server):
    """What the page asks when a viewer opens it."""
    http = mlflow_server.client("vic").http
    assert http.get("/").status_code == 200
    found = http.post("/ajax-api/2.0/mlflow/experiments/search", json={"max_results": 5})
    assert found.status_code == 200, found.text
    assert http.get("/ajax-api/2.0/mlflow/registered-models/search").status_code == 200


def test_graphql_only_reads():
    """A viewer may call it: a new field that changes something must not come with an upgrade unnoticed."""
    from mlflow.server.graphql.graphql_schema_extensions import schema

    types = schema.graphql_schema.type_map
    assert set(types["Mutation"].fields) <= {"mlflowSearchDatasets", "mlflowSearchRuns", "testMutation"}


@pytest.mark.usefixtures("mlflow_server")
class TestOtherTenant:
    """Accounts of another tenant's plant: people of the same names, with passwords of their own."""

    pytestmark = SERVER

    @pytest.fixture(scope="class")
    def others(self, tmp_path_factory) -> dict[str, str]:
        other = Settings(home=tmp_path_factory.mktemp("other"), people=PEOPLE, tenant="globex")
        set_up(other, lambda line: None)
        return {name: account.password for name, account in account_file.read(other.accounts_file).items()}

    def test_every_route_refuses_them_and_nobody(self, mlflow_server, others, routes):
        assert set(others) == set(mlflow_server.accounts)
        guarded = [(method, path) for method, path in routes if access_of(method, path) is not Access.OPEN]
        assert len(guarded) > 300
        accounts = itertools.cycle(others.items())
        with httpx.Client(base_url=mlflow_server.url, timeout=60) as client:
            for method, path in guarded:
                assert client.request(method, path).status_code in (401, 403), (method, path)
            for method, path in guarded[::10]:  # to compare a password takes the server a while
                login = next(accounts)
                refusal = client.request(method, path, auth=login).status_code
                assert refusal in (401, 403, 429), (method, path, login[0])
        own = mlflow_server.client("vic").post("experiments/search", {"max_results": 1})
        assert own.status_code == 200, "and nobody of its own is kept out by that"
