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


def resume(step, event: dict) -> str:
    """What Airflow does after a deferral: it hands back what the deferral kept."""
    kept = {"asked": step.status.release_id, "digest": step.status.candidate.digest}
    return step.operator.execute_complete(CONTEXT, event, **kept)


def answer(by: str | None, at: str) -> dict:
    return {"chosen": ["Approve"], "note": "fine", "by": by, "at": at}


def test_the_question_is_put_again_until_enough_have_answered(step):
    from airflow.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred):
        step.operator.execute(CONTEXT)
    for _ in range(2):  # killed after it was written down: the same answer comes again
        with pytest.raises(TaskDeferred) as waiting:
            resume(step, answer("alice", "2026-01-05T08:00:00"))
    assert waiting.value.kwargs == {"asked": step.status.release_id, "digest": step.status.candidate.digest}
    assert waiting.value.trigger.ti_id == TI, "it watches for the next answer"
    assert [one["ti_id"] for one in step.asked] == [TI] * 3
    assert "0 of 2" in step.asked[0]["body"]
    assert "1 of 2: alice; still needs 1 more" in step.asked[-1]["body"]
    assert resume(step, answer("carol", "2026-01-05T08:01:00")) == Phase.LOADING
    status = step.store.releases.load(step.status.release_id)
    assert [(one.actor, one.channel) for one in status.approvals] == [
        ("alice", "airflow"),
        ("carol", "airflow"),
    ]


def test_answer_of_nobody_known_names_no_person(step):
    from airflow.exceptions import TaskDeferred

    with pytest.raises(TaskDeferred):
        resume(step, answer(None, "2026-01-05T08:00:00"))
    (found,) = step.store.intents.pending(step.status.release_id)
    assert found.actor == "airflow"


def test_ends_when_enough_have_approved(step):
    assert resume(step, {"phase": "LOADING", "why": "approved"}) == Phase.LOADING


def test_an_answer_is_never_moved_to_another_release(step):
    """The template renders another release, or the release is about other files, when the task resumes."""
    from airflow.exceptions import AirflowFailException

    yes = answer("alice", "2026-01-05T08:00:00")
    shown = {"asked": step.status.release_id, "digest": step.status.candidate.digest}
    for kept in ({**shown, "asked": "another"}, {**shown, "digest": "e" * 64}, {}):
        with pytest.raises(AirflowFailException, match="the answer is not stored"):
            step.operator.execute_complete(CONTEXT, yes, **kept)
    other = step.status.model_copy(update={"release_id": "f" * 16})
    step.store.releases.save(other, None, [])
    step.operator.release_id = other.release_id
    with pytest.raises(AirflowFailException, match="the answer is not stored"):
        step.operator.execute_complete(CONTEXT, yes, **shown)
    assert step.store.intents.pending(step.status.release_id) == []
    assert step.store.intents.pending(other.release_id) == []
    assert len(step.store.ledger.rows(kinds=("release.intent_refused",))) == 4


def test_the_release_of_a_run_comes_from_the_ledger_and_from_no_xcom(step):
    from pathlib import Path

    from perennial.errors import NotAllowed
    from perennial.orchestration.trigger_provenance import record_release, release_of

    record_release(step.status, "run 1", step.store.ledger, step.status.started_at)
    assert release_of("run 1", step.status.model) == step.status.release_id
    for run, model in (("run 2", step.status.model), ("run 1", "another")):
        with pytest.raises(NotAllowed, match="no release"):
            release_of(run, model)
    dags = Path(__file__).parents[3] / "dags"
    assert [path.name for path in dags.glob("*.py") if "xcom_pull" in path.read_text()] == []
