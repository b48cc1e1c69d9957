"""MLflow and Airflow where people sign in at an issuer: in a browser, and what its session may do."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from airflow_server import ASKS_EVERYBODY, AirflowServer
from mlflow_server import DIGEST, MODEL, MlflowServer
from oidc.issuer import SECRET, Browser, Issuer
from playwright.sync_api import Page, sync_playwright
from serving_stack import free_ports

from perennial.core.events import Event
from perennial.core.governance.identity import Role
from perennial.flows.governance import identity
from perennial.settings import Settings
from perennial.wiring import database
from perennial.wiring.people import known_accounts

pytestmark = [pytest.mark.server, pytest.mark.timeout(1500)]
PATIENCE = 240_000  # milliseconds
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"
RUNS = "/api/v2/dags/{dag}/dagRuns"
ANSWER = "/api/v2/dags/asks_everybody/dagRuns/{run}/taskInstances/approval/-1/hitlDetails"
AIRFLOW_LOGIN = "/auth/oidc/login"


@pytest.fixture(scope="module")
def mlflow(issuer: Issuer, tmp_path_factory) -> Iterator[MlflowServer]:
    issuer.control(wrong={})
    issuer.person("nora", "ml-leads")
    issuer.person("otto", "ml-ops")
    issuer.person("vera", "ml")
    server = MlflowServer(tmp_path_factory.mktemp("issuer"), **issuer.settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def pages_of_airflow(airflow: AirflowServer, issuer: Issuer, mlflow: MlflowServer) -> Settings:
    """Settings of an API server that shares all but the accounts with that of other tests."""
    changes = {**issuer.settings, "port_airflow": free_ports(1)[0]}
    settings = airflow.settings.model_copy(update=changes)
    airflow.another_api_server(settings, SECRET)
    return settings


@contextmanager
def chromium_page(chromium: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def agree(page: Page, name: str) -> None:
    """What a person does at the issuer."""
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Sign in").click()


def browser(url: str, name: str, login: str = "/oidc/login") -> Browser:
    """Somebody who is signed in."""
    signed_in = Browser(httpx.Client(base_url=url, trust_env=False, timeout=60))
    answer = signed_in.sign_in(name, login)
    assert answer.status_code == 303, answer.text
    signed_in.http.headers["Origin"] = url
    return signed_in


def asked(mlflow: MlflowServer) -> tuple[str, dict[str, str]]:
    """A version that waits for people, and the body of an approval."""
    version = mlflow.version()
    mlflow.client("release").tag(version, "approval", "waiting")
    return version, {"name": MODEL, "version": version, "key": "approval", "value": "approved"}


def test_in_mlflows_page_an_approver_of_the_issuer_approves(mlflow, chromium):
    version, _ = asked(mlflow)
    with chromium_page(chromium) as page:
        page.goto(f"{mlflow.url}/#/models/{MODEL}/versions/{version}")
        agree(page, "nora")
        page.wait_for_url(f"{mlflow.url}/**")
        page.goto(f"{mlflow.url}/#/models/{MODEL}/versions/{version}")
        row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="approval", exact=True))
        row.get_by_test_id("editable-table-button-edit").click()
        row.get_by_role("textbox").fill("approved")
        with page.expect_response(lambda one: one.url.endswith("/model-versions/set-tag")) as answer:
            row.get_by_role("button", name="Save").click()
        assert answer.value.status == 200
        page.goto(f"{mlflow.url}/oidc/logout")
        page.get_by_text("Your sessions here have ended.").wait_for()
        page.goto(f"{mlflow.url}/")
        page.get_by_label("Name").wait_for()
    tags = mlflow.client("training").tags(version)
    assert tags["approval.by.nora"].startswith(f"approved {DIGEST} ")
    rows = database.store(mlflow.settings).ledger.rows("", kinds=(Event.SIGNED_IN, Event.SIGNED_OUT))
    assert [(row.entry.actor, row.entry.kind) for row in rows if row.entry.actor == "nora"][:2] == [
        ("nora", Event.SIGNED_IN), ("nora", Event.SIGNED_OUT),
    ]  # fmt: skip


def test_in_mlflow_a_session_has_the_rights_of_its_role(mlflow):
    _, body = asked(mlflow)
    for name, status in (("vera", 403), ("otto", 403), ("nora", 200)):
        assert browser(mlflow.url, name).http.post(SET_TAG, json=body).status_code == status, name
    stranger = httpx.post(mlflow.url + SET_TAG, json=body, trust_env=False, timeout=60)
    assert stranger.status_code == 401
    assert "Basic" not in stranger.headers["www-authenticate"]  # or a browser would ask for a password


def test_in_mlflow_only_its_own_pages_change_something(mlflow):
    """A page of another port of this machine is of the same site: a browser sends the cookie along."""
    _, body = asked(mlflow)
    nora = browser(mlflow.url, "nora")
    for origin in ("http://127.0.0.1:8080", "null", "http://evil.example"):
        answer = nora.http.post(SET_TAG, json=body, headers={"Origin": origin})
        assert answer.status_code in (401, 403), origin
    del nora.http.headers["Origin"]
    assert nora.http.post(SET_TAG, json=body).status_code == 401


def test_in_mlflow_people_have_no_password_and_machines_keep_theirs(mlflow):
    assert set(mlflow.accounts) == {"admin", "training", "release"}
    browser(mlflow.url, "nora")
    search = "/api/2.0/mlflow/registered-models/search"
    assert mlflow.client("training").http.get(search).status_code == 200
    admin = mlflow.client("admin")
    for name in ("nora", "made-by-hand"):
        if name == "made-by-hand":
            made = admin.post("users/create", {"username": name, "password": "long-enough-1"})
        else:
            body = {"username": name, "password": "long-enough-1"}
            made = admin.call("PATCH", "users/update-password", body)
        assert made.status_code == 200, made.text
        answer = httpx.get(mlflow.url + search, auth=(name, "long-enough-1"), trust_env=False, timeout=60)
        assert answer.status_code == 401, name


def test_in_mlflow_a_person_has_a_token_for_programs(mlflow):
    nora, vera = browser(mlflow.url, "nora"), browser(mlflow.url, "vera")
    version, body = asked(mlflow)
    made = [re.search(r"pn_\w+", person.http.post("/oidc/token").text)[0] for person in (nora, vera)]
    tokens, ledger = database.tokens(mlflow.settings), database.store(mlflow.settings).ledger
    of_admin = identity.issue(
        "nora", Role.APPROVER, timedelta(hours=1), "admin", known_accounts(mlflow.settings), tokens, ledger,
        datetime.now(UTC), secrets.token_hex,
    )[1]  # fmt: skip
    for token, status in ((made[1], 403), (of_admin, 401), ("pn_1_x", 401), (made[0], 200)):
        bearer = {"Authorization": f"Bearer {token}"}
        answer = httpx.post(mlflow.url + SET_TAG, json=body, headers=bearer, trust_env=False, timeout=60)
        assert answer.status_code == status, answer.text
    assert "approval.by.nora" in mlflow.client("training").tags(version)


def test_in_airflow_an_operator_starts_a_dag_and_a_viewer_does_not(pages_of_airflow, chromium, airflow):
    url = pages_of_airflow.airflow_url
    with chromium_page(chromium) as page:
        page.goto(f"{url}/dags/asks_everybody")
        agree(page, "otto")
        page.wait_for_url(f"{url}/dags/asks_everybody*")  # where the person wanted to go
        page.get_by_role("button", name="Trigger").first.wait_for()
        started = page.request.post(url + RUNS.format(dag="asks_everybody"), data={"logical_date": None})
        assert started.status == 200, started.text()
        path = ANSWER.format(run=started.json()["dag_run_id"])
        airflow.until(lambda: page.request.get(url + path).status == 200, "the question")
        yes = {"chosen_options": ["Approve"], "params_input": {"note": "by the issuer"}}
        assert page.request.patch(url + path, data=yes).status == 403
    vera = browser(url, "vera", AIRFLOW_LOGIN)
    assert vera.http.post(RUNS.format(dag="train_m_1"), json={"logical_date": None}).status_code == 403
    assert vera.http.patch(path, json=yes).status_code == 403
    assert airflow.call("admin", "PATCH", path, yes).status_code == 403
    nora = browser(url, "nora", AIRFLOW_LOGIN)
    assert nora.http.patch(path, json=yes).status_code == 200
    intents = airflow.until(
        lambda: [one for one in airflow.store.intents.pending(ASKS_EVERYBODY) if one.note == "by the issuer"],
        "the answer as an intent",
    )
    assert [intent.actor for intent in intents] == ["nora"]


def test_in_airflow_only_sessions_of_the_issuer_and_local_accounts_count(pages_of_airflow, airflow):
    url = pages_of_airflow.airflow_url
    nora = browser(url, "nora", AIRFLOW_LOGIN)
    kept = dict(nora.http.cookies)
    assert nora.http.get("/api/v2/dags").status_code == 200
    assert nora.http.get("/api/v2/auth/logout", follow_redirects=True).status_code == 200
    nora.http.cookies.update(kept)
    ended = nora.http.get("/api/v2/dags")
    assert (ended.status_code, "_token=" in ended.headers["set-cookie"]) == (
        403,
        True,
    )  # its page signs in again
    for name, status in (("ann", 403), ("admin", 200)):  # the token of a password that counted before
        account = {"username": name, "password": airflow.password(name)}
        made = httpx.post(f"{airflow.settings.airflow_url}/auth/token", json=account, timeout=60).json()
        bearer = {"Authorization": f"Bearer {made['access_token']}"}
        answer = httpx.get(f"{url}/api/v2/dags", headers=bearer, timeout=60, trust_env=False)
        assert answer.status_code == status, name
    elsewhere = httpx.get(f"{url}/api/v2/auth/login?next=https://evil.example/", trust_env=False, timeout=60)
    assert elsewhere.status_code == 400
