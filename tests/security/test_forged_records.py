"""Forging what approvers read and rely on in MLflow: descriptions, sources, aliases, the role itself."""

from __future__ import annotations

import httpx
import pytest
from mlflow_server import MODEL

from perennial.core.governance.identity import Role
from perennial.core.governance.registry_rules import alias_refusal, tag_refusal
from perennial.core.governance.tracking_rules import route_refusal, version_refusal

NAME = {"name": MODEL}
ID = "0123456789abcdef" * 2
ELSEWHERE = (
    "s3://b/x", "gs://b/x", "dbfs:/x", "unknown://x", "models:/rates/1", f"models:/m-{ID}/../..", "models:/../..",
    "models:/%2e%2e/1", f"runs:/{ID}/../x", "/a/../b", "file://host/x", "relative", "C:\\x", "", 7, None,
)  # fmt: skip


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("path", ["model-versions/update", "registered-models/update"])
def test_nobody_rewrites_a_description(role, path):
    assert route_refusal("PATCH", f"/ajax-api/2.0/mlflow/{path}", {role}, admin=role is Role.ADMIN)


@pytest.mark.parametrize("path", ["runs/update", "logged-models", f"logged-models/m-{ID}/tags"])
def test_only_training_edits_runs_and_logged_models(path):
    may = {role for role in Role if not route_refusal("POST", f"/api/2.0/mlflow/{path}", {role}, admin=False)}
    assert may == {Role.TRAINING}


@pytest.mark.parametrize("source", ELSEWHERE)
def test_files_of_a_version_lie_nowhere_else(source):
    assert version_refusal({**NAME, "source": source})


def test_files_of_a_version_lie_in_a_run_or_logged_model():
    for source in ("/state/artifacts/1/x/m", "file:///state/1", f"models:/m-{ID}", f"runs:/{ID}/model"):
        assert version_refusal({**NAME, "source": source}) == ""
    assert version_refusal(None)


@pytest.mark.parametrize("alias", ["\u0441hampion", "champion\u200b", "previous\n"])
def test_an_alias_that_looks_like_another_is_nobodys(alias):
    assert alias_refusal(set(Role), alias)


def test_an_account_with_admin_rights_never_approves():
    assert tag_refusal({Role.APPROVER}, "approval", "approved", {}) == ""
    for value in ("approved", "rejected", "waiting", None):
        assert tag_refusal(set(Role), "approval", value, {}, admin=True)


@pytest.mark.server
@pytest.mark.timeout(600)
def test_the_server_refuses_them(mlflow_server):
    version, training = mlflow_server.version(), mlflow_server.client("training")
    for name in ("olga", "ann", "training", "admin"):
        for route, body in (("model-versions", {**NAME, "version": version}), ("registered-models", NAME)):
            edit = {**body, "description": "safe, approve it"}
            answer = mlflow_server.client(name).call("PATCH", f"{route}/update", edit)
            assert answer.status_code == 403, (name, route)
    for source in (*ELSEWHERE[:6], f"{mlflow_server.settings.state}/elsewhere"):
        answer = training.post("model-versions/create", {**mlflow_server.files(), **NAME, "source": source})
        assert 400 <= answer.status_code < 500, (source, answer.text)
    alias = {**NAME, "alias": "\u0441hampion", "version": version}
    assert mlflow_server.client("olga").post("registered-models/alias", alias).status_code == 403


@pytest.mark.server
@pytest.mark.timeout(600)
@pytest.mark.parametrize("prefix", ["/api", "/ajax-api"])
def test_nothing_about_the_server_without_an_account(mlflow_server, prefix):
    path = f"{prefix}/3.0/mlflow/server-info"
    for account in (None, ("ann", "wrong")):
        assert httpx.get(mlflow_server.url + path, auth=account).status_code == 401
    assert mlflow_server.client("vic").http.get(path).status_code == 200
    assert httpx.get(f"{mlflow_server.url}/health").status_code == 200


@pytest.mark.server
@pytest.mark.timeout(600)
def test_an_admin_that_takes_the_role_approves_nothing(mlflow_server):
    admin, version = mlflow_server.client("admin"), mlflow_server.version()
    roles = admin.http.get("/api/3.0/mlflow/roles/list", params={"workspace": "default"}).json()["roles"]
    role = {"username": "admin", "role_id": next(one["id"] for one in roles if one["name"] == "approver")}
    try:
        assert admin.http.post("/api/3.0/mlflow/roles/assign", json=role).status_code == 200
        assert admin.tag(version, "approval", "approved").status_code == 403
    finally:
        assert admin.http.request("DELETE", "/api/3.0/mlflow/roles/unassign", json=role).status_code == 200
    assert "approval.by.admin" not in admin.tags(version)


def test_a_client_and_a_source_never_share_a_name(tmp_path, monkeypatch, capsys):
    from perennial.cli import main

    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["feedback", "source", "add", "ci"]) == 0
    assert main(["key", "add", "web"]) == 0
    for line in (
        "key add ci --right feedback",
        "feedback source add web",
        "key add jwt-x",
        "feedback source add jwt-x",
    ):
        assert main(line.split()) != 0, line
        assert "another sender of feedback" in capsys.readouterr().err
    assert main(["feedback", "source", "add", "ci"]) == 0, "a new key of the same source"
