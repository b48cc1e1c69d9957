"""The release DAG's question in a real Airflow: approvers answer it, nobody else, and by their own name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from airflow_house import ANSWER, MODEL, QUESTION, RELEASE, AirflowHouse
from playwright.sync_api import Page, sync_playwright

from perennial.core.release.status import Intent, IntentKind

pytestmark = [pytest.mark.server, pytest.mark.timeout(1500)]
RUNS = "/api/v2/dags/asks/dagRuns"
PATIENCE = 240_000  # milliseconds


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[AirflowHouse]:
    made = AirflowHouse(tmp_path_factory.mktemp("airflow"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def asked(house: AirflowHouse) -> str:
    """A run of the DAG that waits for a person; its id."""
    started = house.call("olga", "POST", RUNS, {"logical_date": None, "conf": {}})
    assert started.status_code == 200, started.text
    run = started.json()["dag_run_id"]
    house.until(lambda: house.call("admin", "GET", ANSWER.format(run=run)).status_code == 200, "the question")
    return run


def intents(house: AirflowHouse, note: str) -> list[Intent]:
    return [one for one in house.store.intents.pending(RELEASE) if one.note == note]


def test_only_an_approver_answers_and_is_named(house):
    assert house.call("vic", "POST", RUNS, {"logical_date": None, "conf": {}}).status_code == 403
    path = ANSWER.format(run=asked(house))
    yes = {"chosen_options": ["Approve"], "params_input": {"note": "looks good"}}
    for name in ("vic", "olga", "admin"):
        refused = house.call(name, "PATCH", path, yes)
        assert refused.status_code == 403, (name, refused.text)
    assert intents(house, "looks good") == []
    assert house.call("ann", "PATCH", path, yes).status_code == 200
    (intent,) = house.until(lambda: intents(house, "looks good"), "the answer as an intent")
    assert (intent.actor, intent.kind, intent.channel) == ("ann", IntentKind.APPROVE, "airflow")
    assert intent.digest == "d" * 64


@contextmanager
def page_of(house: AirflowHouse, chromium: str, run: str, name: str) -> Iterator[Page]:
    """The question in Airflow's page, signed in by its form."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(house.settings.airflow_url + QUESTION.format(run=run))
        page.locator("input[name=username]").fill(name)
        page.locator("input[name=password]").fill(house.password(name))
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


def test_in_the_page_an_approver_reads_the_evidence_and_answers(house, chromium):
    run = asked(house)
    for name in ("vic", "olga"):
        with page_of(house, chromium, run, name) as page:
            assert approve(page, "from the page") == 403
            page.get_by_text("Access Denied").wait_for()
    assert intents(house, "from the page") == []
    with page_of(house, chromium, run, "ann") as page:
        page.get_by_text(f"Release {MODEL} 1.0.0?").wait_for()
        page.get_by_role("cell", name="p95 4 ms").wait_for()
        page.get_by_text("Approvals:").wait_for()
        assert approve(page, "from the page") == 200
    (intent,) = house.until(lambda: intents(house, "from the page"), "the answer as an intent")
    assert (intent.actor, intent.channel) == ("ann", "airflow")


def test_a_question_to_nobody_in_particular_is_not_asked():
    from perennial.orchestration.release_steps import ApprovalStep

    with pytest.raises(ValueError, match="no account has the role approver"):
        ApprovalStep(task_id="approval", release_id=RELEASE, approvers=[])
