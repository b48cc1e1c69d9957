"""The release DAG's question in a real Airflow: approvers answer it, nobody else, and by their own name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from airflow_server import ANSWER, MODEL, QUESTION, RELEASE, AirflowServer
from playwright.sync_api import Page, sync_playwright

from perennial.core.release.status import Intent, IntentKind

pytestmark = [pytest.mark.server, pytest.mark.timeout(1500)]
RUNS = "/api/v2/dags/asks/dagRuns"
PATIENCE = 240_000  # milliseconds


def asked(airflow: AirflowServer) -> str:
    """A run of the DAG that waits for a person; its id."""
    started = airflow.call("olga", "POST", RUNS, {"logical_date": None, "conf": {}})
    assert started.status_code == 200, started.text
    run = started.json()["dag_run_id"]
    airflow.until(
        lambda: airflow.call("admin", "GET", ANSWER.format(run=run)).status_code == 200, "the question"
    )
    return run


def intents(airflow: AirflowServer, note: str) -> list[Intent]:
    return [one for one in airflow.store.intents.pending(RELEASE) if one.note == note]


def test_only_an_approver_answers_and_is_named(airflow):
    assert airflow.call("vic", "POST", RUNS, {"logical_date": None, "conf": {}}).status_code == 403
    path = ANSWER.format(run=asked(airflow))
    yes = {"chosen_options": ["Approve"], "params_input": {"note": "looks good"}}
    for name in ("vic", "olga", "admin"):
        refused = airflow.call(name, "PATCH", path, yes)
        assert refused.status_code == 403, (name, refused.text)
    assert intents(airflow, "looks good") == []
    assert airflow.call("ann", "PATCH", path, yes).status_code == 200
    (intent,) = airflow.until(lambda: intents(airflow, "looks good"), "the answer as an intent")
    assert (intent.actor, intent.kind, intent.channel) == ("ann", IntentKind.APPROVE, "airflow")
    assert intent.digest == "d" * 64


@contextmanager
def page_of(airflow: AirflowServer, chromium: str, run: str, name: str) -> Iterator[Page]:
    """The question in Airflow's page, signed in by its form."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(airflow.settings.airflow_url + QUESTION.format(run=run))
        page.locator("input[name=username]").fill(name)
        page.locator("input[name=password]").fill(airflow.password(name))
        page.locator("button[type=submit]").click()
        page.get_by_role("button", name="Approve", exact=True).wait_for()
        yield page
        browser.close()


def approve(page: Page, note: str) -> int:
    """What a person does; the server's status."""
    page.get_by_role("textbox").last.fill(note)
    with page.expect_response(
        lambda one: "hitlDetails" in one.url and one.request.method == "PATCH"
    ) as answer:
        page.get_by_role("button", name="Approve", exact=True).click()
    return answer.value.status


def test_in_the_page_an_approver_reads_the_evidence_and_answers(airflow, chromium):
    run = asked(airflow)
    for name in ("vic", "olga"):
        with page_of(airflow, chromium, run, name) as page:
            assert approve(page, "from the page") == 403
            page.get_by_text("Access Denied").wait_for()
    assert intents(airflow, "from the page") == []
    with page_of(airflow, chromium, run, "ann") as page:
        page.get_by_text(f"Release {MODEL} 1.0.0?").wait_for()
        page.get_by_role("cell", name="p95 4 ms").wait_for()
        page.get_by_text("Approvals:").wait_for()
        assert approve(page, "from the page") == 200
    (intent,) = airflow.until(lambda: intents(airflow, "from the page"), "the answer as an intent")
    assert (intent.actor, intent.channel) == ("ann", "airflow")


def test_a_question_to_nobody_in_particular_is_not_asked():
    from perennial.orchestration.release_steps import ApprovalStep

    with pytest.raises(ValueError, match="no account has the role approver"):
        ApprovalStep(task_id="approval", release_id=RELEASE, approvers=[])
