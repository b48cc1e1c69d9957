"""MLflow's own page in Chromium: as an approver, and as somebody who is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from mlflow_server import DIGEST, MODEL, MlflowServer
from playwright.sync_api import Page, sync_playwright

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
PATIENCE = 240_000  # milliseconds: the page is 5 MB of script


@contextmanager
def signed_in(mlflow_server: MlflowServer, chromium: str, name: str) -> Iterator[Page]:
    account = {"username": name, "password": mlflow_server.accounts[name].password}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, http_credentials=account)
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


def change_approval(page: Page, url: str, version: str, word: str) -> int:
    """The version's page; the pencil beside the tag `approval`, a word, Save. Returns the server's status."""
    page.goto(f"{url}/#/models/{MODEL}/versions/{version}")
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="approval", exact=True))
    row.get_by_test_id("editable-table-button-edit").click()
    row.get_by_role("textbox").fill(word)
    with page.expect_response(lambda one: one.url.endswith("/model-versions/set-tag")) as answer:
        row.get_by_role("button", name="Save").click()
    return answer.value.status


def test_an_approver_approves_in_the_page(mlflow_server, chromium):
    version = mlflow_server.version()
    mlflow_server.client("release").tag(version, "approval", "waiting")
    with signed_in(mlflow_server, chromium, "ann") as page:
        assert change_approval(page, mlflow_server.url, version, "approved") == 200
        page.get_by_role("cell", name="approved", exact=True).wait_for()
    tags = mlflow_server.client("vic").tags(version)
    assert tags["approval"] == "approved"
    assert tags["approval.by.ann"].startswith(f"approved {DIGEST} ")


@pytest.mark.parametrize("name", ["olga", "vic"])
def test_somebody_else_is_refused_in_the_page(mlflow_server, chromium, name):
    version = mlflow_server.version()
    mlflow_server.client("release").tag(version, "approval", "waiting")
    with signed_in(mlflow_server, chromium, name) as page:
        assert change_approval(page, mlflow_server.url, version, "approved") == 403
    assert mlflow_server.client("ann").tags(version)["approval"] == "waiting"
