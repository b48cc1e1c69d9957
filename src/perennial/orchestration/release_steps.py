"""Operators of the release DAG: each waits, deferred, until the release has passed a phase."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator, Param
from airflow.sdk.execution_time.hitl import upsert_hitl_detail

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus

APPROVE, REJECT = "Approve", "Reject"
NOTE = {"note": Param("", type=["null", "string"], title="Note for the ledger")}
"""Optional; the default is not None, which Airflow's form shows as `[object Object]`."""
EVERY = 2.0
"""Seconds between two passes over a release."""


class ReleaseStep(BaseOperator):
    """Task that succeeds when the release has passed the phase, and fails when it was rolled back or rejected."""

    template_fields = ("release_id",)

    def __init__(self, *, release_id: str, phase: str, step: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.release_id = release_id
        self.phase = phase
        self.step = step

    def execute(self, context: Any) -> str:
        return self.wait()

    def wait(self) -> str:
        from perennial.orchestration.release_trigger import ReleaseTrigger

        self.defer(
            trigger=ReleaseTrigger(self.release_id, self.phase, self.step, EVERY),
            method_name="resumed",
        )
        return ""  # never reached: defer raises

    def resumed(self, context: Any, event: dict[str, Any]) -> str:
        return judge(event)


class ApprovalStep(HITLOperator):
    """Task that asks people in Airflow's UI; approvals in MLflow or on the command line count, and end it, too.

    A task holds a single answer: where it was refused, or more are needed, the task asks again. Airflow takes
    answers of `approvers` only and refuses everybody else, its admin too, with a 403. The form shows the gate's
    evidence and the fields of the task's `params`; `note` goes into the ledger.

    An answer is for the release and digest of the question. The deferral keeps both: no route of Airflow writes it,
    while what a template renders may be another text when the task resumes.
    """

    template_fields = ("release_id",)

    def __init__(self, *, release_id: str, approvers: Collection[str], **kwargs: Any) -> None:
        if not approvers:  # Airflow would take an empty list as "everybody"
            raise ValueError("no account has the role approver: see PERENNIAL_PEOPLE")
        super().__init__(
            assigned_users=[{"id": name, "name": name} for name in approvers],
            subject="Release this candidate?",  # replaced when it is asked
            options=[APPROVE, REJECT],
            **kwargs,
        )
        self.release_id = release_id

    def execute(self, context: Any) -> str:
        return self._ask(self._status(), context)

    def execute_complete(self, context: Any, event: dict[str, Any], asked: str = "", digest: str = "") -> str:
        self._check_question(asked, digest)
        if "chosen" not in event:
            return judge(event)
        self._record(event, str(context["task_instance"].id), digest)
        return self._ask(self._counted(), context)

    def _status(self) -> ReleaseStatus:
        from perennial.wiring import database

        status = database.store().releases.load(self.release_id)
        if status is None:
            raise AirflowFailException(f"there is no release {self.release_id}")
        return status

    def _counted(self) -> ReleaseStatus:
        """Return the status after the answer was counted, so that the prompt names who is still needed.

        Where a tool is down, the trigger counts it later.
        """
        from perennial.orchestration.release_trigger import try_to_reconcile

        return try_to_reconcile(self.release_id, self.log) or self._status()

    def _ask(self, status: ReleaseStatus, context: Any) -> str:
        """Ask with an empty form and wait; return the phase where the approval is decided already."""
        from perennial.core.release import approval_prompt
        from perennial.core.release.phase import Phase
        from perennial.orchestration.release_trigger import ReleaseTrigger, passed
        from perennial.settings import load

        if passed(status, Phase.AWAITING_APPROVAL, 0):
            return judge({"phase": status.phase.value, "why": status.note})
        ti_id = str(context["task_instance"].id)
        upsert_hitl_detail(
            ti_id=context["task_instance"].id,
            options=self.options,
            subject=approval_prompt.subject(status),
            body=approval_prompt.body(status, load().mlflow_url),
            params=self.serialized_params,
            assigned_users=self.assigned_users,
        )
        self.defer(
            trigger=ReleaseTrigger(self.release_id, Phase.AWAITING_APPROVAL.value, 0, EVERY, ti_id),
            method_name="execute_complete",
            kwargs={"asked": status.release_id, "digest": status.candidate.digest},
        )
        return ""  # never reached: defer raises

    def _check_question(self, asked: str, digest: str) -> None:
        """Fail the task where it is no longer about the release and the digest that the question showed.

        Raises:
            AirflowFailException: they differ; the ledger has it, and the answer counts for nothing.
        """
        from perennial.core.events import Entry, Event, SystemActor
        from perennial.wiring import database

        store = database.store()
        status = store.releases.load(asked)
        if status is not None and (asked, digest) == (self.release_id, status.candidate.digest):
            return
        why = f"the question was about release {asked or '?'}, the task is now about {self.release_id}"
        store.ledger.append(
            Entry(
                at=datetime.now(UTC),
                actor=SystemActor.AIRFLOW,
                kind=Event.RELEASE_INTENT_REFUSED,
                model=status.model if status is not None else "",
                release_id=asked or None,
                digest=digest or None,
                payload={"intent": "answer", "channel": SystemActor.AIRFLOW.value, "note": "", "why": why},
            )
        )
        raise AirflowFailException(f"{why}: the answer is not stored")

    def _record(self, event: dict[str, Any], ti_id: str, digest: str) -> None:
        """Store the person's answer as an intent; the next pass over the release applies it."""
        from perennial.core.events import SystemActor
        from perennial.core.release.status import Intent, IntentKind
        from perennial.wiring import database

        kind = IntentKind.APPROVE if APPROVE in event["chosen"] else IntentKind.REJECT
        database.store().intents.put(
            Intent(
                id=f"airflow-{ti_id}-{event['at']}",
                release_id=self.release_id,
                kind=kind,
                actor=event["by"] or SystemActor.AIRFLOW.value,  # under that name no approval counts
                at=datetime.now(UTC),
                digest=digest,
                note=event["note"],
                channel=SystemActor.AIRFLOW.value,
            )
        )


def judge(event: dict[str, Any]) -> str:
    """Return the phase reached, or raise the exception that shows in Airflow how the release ended.

    Raises:
        AirflowSkipException: a newer candidate took over.
        AirflowFailException: the release was rolled back or rejected; no retry changes that.
    """
    phase, why = event["phase"], event["why"]
    if phase == "SUPERSEDED":
        raise AirflowSkipException(f"a newer candidate took over: {why}")
    if phase in ("ROLLED_BACK", "REJECTED"):
        raise AirflowFailException(f"the release ended {phase}: {why}")
    return str(phase)
