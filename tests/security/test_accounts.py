"""Guessing passwords at MLflow and Airflow, and changing accounts unseen."""

from __future__ import annotations

import httpx
import pytest
from mlflow_server import Client, MlflowServer

from perennial.core.events import Entry, Event
from perennial.core.governance.sign_in import ALLOWED
from perennial.wiring import database

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]
FIRST, SECOND = "a password of tests", "another password of tests"
V3 = "/api/3.0/mlflow/"


def entries(settings, kind: Event, account: str) -> list[Entry]:
    rows = database.store(settings).ledger.rows(kinds=(kind,))
    return [
        row.entry
        for row in rows
        if account in (row.entry.payload.get(key) for key in ("account", "username"))
    ]


def made(mlflow_server: MlflowServer, name: str) -> Client:
    """A new account of MLflow, made by the admin."""
    admin = mlflow_server.client("admin")
    done = admin.post("users/create", {"username": name, "password": FIRST})
    assert done.status_code == 200, done.text
    return Client(mlflow_server.url, (name, FIRST))


def me(client: Client) -> int:
    return client.http.get("/api/2.0/mlflow/users/current").status_code


def test_guesses_at_mlflow_are_delayed_and_recorded_and_lock_out_nobody_else(mlflow_server):
    at_work = made(mlflow_server, "guessed")
    assert me(at_work) == 200
    guess = Client(mlflow_server.url, ("guessed", "a wrong password"))
    codes = [me(guess) for _ in range(ALLOWED + 5)]
    assert set(codes[:ALLOWED]) == {401}
    assert codes[-1] == 429
    refused = guess.http.get("/")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert me(at_work) == 200, "who is at work stays signed in"
    assert me(mlflow_server.client("ann")) == 200
    strangers = [me(Client(mlflow_server.url, (f"nobody-{number}", "x"))) for number in range(ALLOWED + 2)]
    assert strangers[-1] == 429
    (recorded,) = entries(mlflow_server.settings, Event.SIGN_IN_REFUSED, "guessed")
    assert recorded.actor == "mlflow"
    assert len(entries(mlflow_server.settings, Event.SIGN_IN_REFUSED, "no account")) == 1


def test_each_change_of_an_account_is_recorded_without_the_password_and_counts_at_once(mlflow_server):
    admin, client = mlflow_server.client("admin"), made(mlflow_server, "changed")
    assert me(client) == 200
    version = mlflow_server.version()
    role = next(one for one in admin.http.get(V3 + "roles/list").json()["roles"] if one["name"] == "operator")
    given = {"username": "changed", "role_id": role["id"]}
    assert client.tag(version, "note", "x").status_code == 403
    assert admin.post("roles/assign", given, V3).status_code == 200
    assert client.tag(version, "note", "x").status_code == 200
    assert admin.call("DELETE", "roles/unassign", given, V3).status_code == 200
    assert client.tag(version, "note", "y").status_code == 403, "a role that was taken counts no longer"
    new = {"username": "changed", "password": SECOND}
    assert admin.call("PATCH", "users/update-password", new).status_code == 200
    assert me(client) == 401, "the old password signs in no longer"
    client = Client(mlflow_server.url, ("changed", SECOND))
    assert me(client) == 200
    assert (
        client.call("PATCH", "users/update-admin", {"username": "changed", "is_admin": True}).status_code
        == 403
    )
    own = {"username": "changed", "password": FIRST, "current_password": SECOND}
    assert client.call("PATCH", "users/update-password", own).status_code == 403
    assert admin.call("DELETE", "users/delete", {"username": "changed"}).status_code == 200
    assert me(client) == 401
    recorded = entries(mlflow_server.settings, Event.ACCOUNT_CHANGED, "changed")
    assert [(entry.actor, entry.payload["change"], entry.payload.get("role")) for entry in recorded] == [
        ("admin", "create_user", None),
        ("admin", "assign_role_to_user", "operator"),
        ("admin", "unassign_role_from_user", "operator"),
        ("admin", "update_user", None),
        ("admin", "delete_user", None),
    ]
    everything = repr(database.store(mlflow_server.settings).ledger.rows())
    assert FIRST not in everything
    assert SECOND not in everything


def test_the_accounts_of_the_file_are_recorded_too(mlflow_server):
    recorded = entries(mlflow_server.settings, Event.ACCOUNT_CHANGED, "ann")
    assert [(entry.actor, entry.payload["change"]) for entry in recorded] == [
        ("accounts", "created"), ("accounts", "role approver given"),
    ]  # fmt: skip


def test_guesses_at_airflow_are_delayed_and_recorded(airflow):
    url = airflow.settings.airflow_url

    def sign_in(password: str, path: str = "/auth/token") -> httpx.Response:
        return httpx.post(url + path, json={"username": "vic", "password": password}, timeout=60)

    assert sign_in(airflow.password("vic")).status_code == 201
    for _ in range(ALLOWED):
        assert sign_in("a wrong password").status_code == 401
    refused = sign_in("a wrong password", "/auth/token/cli")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert sign_in(airflow.password("vic")).status_code == 201
    assert airflow.call("ann", "GET", "/api/v2/dags").status_code == 200
    (recorded,) = entries(airflow.settings, Event.SIGN_IN_REFUSED, "vic")
    assert recorded.actor == "airflow"
