"""A release that a person approves in MLflow's page, while processes are killed and clients ask."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from playwright.sync_api import sync_playwright

from perennial import account_file
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.local import supervisord
from perennial.settings import Settings
from perennial.wiring import database, releasing

if TYPE_CHECKING:
    from .conftest import Demo

MODEL = "test_failure_predictor"
APPROVER = "approver"
"""The account with that role in an installation that names no people."""


class Load:
    """Clients that ask all the time and count what they got."""

    def __init__(self, settings: Settings, entity: dict) -> None:
        self.url = f"{settings.envoy_url}/v1/models/{MODEL}/predict"
        self.body = {
            "entities": [entity],
            "context": {"cycle_size": 40, "requested_at": time.time()},
            "allow_unknown": True,
        }
        self.sent, self.failures = 0, []
        self.closed = threading.Event()
        self.threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(3)]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closed.set()
        for thread in self.threads:
            thread.join(timeout=30)

    def _ask(self) -> None:
        with httpx.Client(timeout=20) as client:
            while not self.closed.wait(0.05):
                try:
                    answer = client.post(self.url, json=self.body)
                    problem = (
                        None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"
                    )
                except httpx.HTTPError as error:
                    problem = repr(error)
                self.sent += 1
                if problem:
                    self.failures.append(problem)


def approve_in_mlflow(chromium: str, settings: Settings, key: str) -> None:
    """What a person does on the version's page: the tag `approval` says waiting; the pencil, a word, Save."""
    account = {"username": APPROVER, "password": account_file.read(settings.accounts_file)[APPROVER].password}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1000}, http_credentials=account)
        page.goto(f"{settings.tracking}/#/models/{MODEL}/versions/{key}")
        row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="approval", exact=True))
        row.get_by_test_id("editable-table-button-edit").click(timeout=60_000)
        row.get_by_role("textbox").fill("approved")
        # The cell reads "approved" while it is edited, too: what counts is the answer of the server.
        with page.expect_response(lambda answer: answer.url.endswith("/set-tag"), timeout=60_000) as saved:
            row.get_by_role("button", name="Save").click()
        assert saved.value.ok, saved.value.status
        page.get_by_role("cell", name="approved", exact=True).wait_for(timeout=30_000)
        browser.close()


@dataclass(frozen=True)
class ReleaseUnderFire:
    """Attributes: status: of the release at its end; load: what the clients got meanwhile."""

    status: ReleaseStatus
    load: Load


def release_under_fire(demo: Demo, chromium: str) -> ReleaseUnderFire:
    """Approve the second release; kill what drives it, what serves it and what records it."""
    settings = demo.stack.settings

    def newest(*phases: Phase) -> ReleaseStatus | None:
        # The demo makes the state folder anew, so that there may be no database yet.
        found = database.store(settings).releases.latest(MODEL) if settings.state.is_dir() else []
        if len(found) < 2:
            return None
        status = found[0]
        assert status.phase in phases or not status.phase.is_final(), status.note
        return status if status.phase in phases else None

    waiting = demo.until(lambda: newest(Phase.AWAITING_APPROVAL), 1500, "the gate of the second candidate")
    entity = releasing.prediction_log(settings).read(MODEL)["entity"].iloc[-1]
    with Load(settings, httpx.Response(200, content=entity).json()) as load:
        time.sleep(3)
        assert newest(Phase.AWAITING_APPROVAL), "nobody has approved yet"
        approve_in_mlflow(chromium, settings, waiting.candidate.key)
        demo.until(lambda: newest(Phase.SHADOW), 600, "the shadow")
        kill(settings, "airflow-triggerer")
        demo.until(lambda: newest(Phase.CANARY), 600, "the canary")
        kill(settings, f"server-stable-{settings.ports('stable')[0]}")
        kill(settings, "airflow-scheduler")
        kill(settings, "mlflow")
        status = demo.until(lambda: newest(Phase.SUCCEEDED), 600, "the release to finish")
        time.sleep(2)
    return ReleaseUnderFire(status, load)


def kill(settings, name: str) -> None:
    """SIGKILL a process with all its children."""
    os.killpg(supervisord.states(settings)[name]["pid"], signal.SIGKILL)
