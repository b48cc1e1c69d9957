"""Airflow's question to people: asked anew until enough have answered. Airflow's own server is not started."""

from __future__ import annotations

import types

import pytest

from perennial import settings as environment
from perennial.core.release.phase import Phase
from perennial.wiring import database

pytestmark = pytest.mark.slow

TI = "0197f3c2-0000-7000-8000-000000000001"
CONTEXT = {"task_instance": types.SimpleNamespace(id=TI)}


@pytest.fixture
def step(world, tmp_path, monkeypatch):
    """The operator over a stored release that two people must allow, and what it asked Airflow for."""
    from perennial.orchestration import release_steps

    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    world.approvers(2)
    world.versions.add("1.0.0")
    status = world.start()
    store = database.store(environment.load())
    store.releases.save(status, None, [])
    asked: list[dict] = []
    monkeypatch.setattr(
        release_steps,
        "upsert_hitl_detail",
        lambda **given: asked.append(given | {"ti_id": str(given["ti_id"])}),
    )
    operator = release_steps.ApprovalStep(
        task_id="approval", release_id=status.release_id, approvers=["alice"]
    )
    return types.SimpleNamespace(operator=operator, store=store, status=status, asked=asked)


def answer(by: str | None, at: str) -> dict:
    return {"chosen": ["Approve"], "note": "fine", "by": by, "at": at}


def test_the_question_is_put_again_until_enough_have_answered(step):
    from airflow.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred):
        step.operator.execute(CONTEXT)
    for _ in range(2):  # killed after it was written down: the same answer comes again
        with pytest.raises(TaskDeferred) as waiting:
            step.operator.execute_complete(CONTEXT, answer("alice", "2026-01-05T08:00:00"))
    assert waiting.value.trigger.ti_id == TI, "it watches for the next answer"
    assert [one["ti_id"] for one in step.asked] == [TI] * 3
    assert "0 of 2" in step.asked[0]["body"]
    assert "1 of 2: alice; still needs 1 more" in step.asked[-1]["body"]
    assert step.operator.execute_complete(CONTEXT, answer("carol", "2026-01-05T08:01:00")) == Phase.LOADING
    status = step.store.releases.load(step.status.release_id)
    assert [(one.actor, one.channel) for one in status.approvals] == [
        ("alice", "airflow"),
        ("carol", "airflow"),
    ]


def test_answer_of_nobody_known_names_no_person(step):
    from airflow.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred):
        step.operator.execute_complete(CONTEXT, answer(None, "2026-01-05T08:00:00"))
    (found,) = step.store.intents.pending(step.status.release_id)
    assert found.actor == "airflow"


def test_ends_when_enough_have_approved(step):
    assert step.operator.execute_complete(CONTEXT, {"phase": "LOADING", "why": "approved"}) == Phase.LOADING
