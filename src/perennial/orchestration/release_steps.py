"""Operators of the release DAG: each waits, deferred, until the release has passed one phase."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from airflow.exceptions import AirflowFailException, AirflowSkipException
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.hitl import upsert_hitl_detail

APPROVE, REJECT = "Approve", "Reject"
EVERY = 2.0  # seconds between two passes over a release


class ReleaseStep(BaseOperator):
    """Succeeds when the release has passed the phase, fails when it was rolled back or rejected."""

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
    """Asks people in Airflow's UI; approvals in MLflow or on the command line count, and end it, too.

    A task holds one answer: where it was not the last that is needed, or was refused, the question is
    asked anew. Airflow takes the answer of `approvers` only: from anybody else, its admin too, it is a 403.
    The form has the fields of the task's `params`; `note` goes into the ledger.
    """

    template_fields = ("subject", "body", "release_id")

    def __init__(self, *, release_id: str, approvers: Collection[str], **kwargs: Any) -> None:
        if not approvers:  # to Airflow nobody in particular is everybody
            raise ValueError("no account has the role approver: see PERENNIAL_PEOPLE")
        super().__init__(
            assigned_users=[{"id": name, "name": name} for name in approvers],
            subject="Release this candidate?",
            body="Release `{{ ti.xcom_pull(task_ids='gate') }}`. Gate report: tags `gate.*` of the version in "
            "MLflow, or `perennial release status`. Approving binds to the digest that was gated.",
            options=[APPROVE, REJECT],
            **kwargs,
        )
        self.release_id = release_id

    def execute(self, context: Any) -> str:
        from perennial import wiring
        from perennial.core.release import Phase
        from perennial.orchestration.release_trigger import passed

        status = wiring.store().releases.load(self.release_id)
        if status is None:
            raise AirflowFailException(f"there is no release {self.release_id}")
        if passed(status, Phase.AWAITING_APPROVAL, 0):
            return judge({"phase": status.phase.value, "why": status.note})
        self._ask(context)
        return ""  # never reached: defer raises

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        if "chosen" not in event:
            return judge(event)
        self._record(event, str(context["task_instance"].id))
        self._ask(context)
        return ""  # never reached: defer raises

    def _ask(self, context: Any) -> None:
        """Put the question, without the answer that it may hold, and wait."""
        from perennial.core.release import Phase
        from perennial.orchestration.release_trigger import ReleaseTrigger

        ti_id = str(context["task_instance"].id)
        upsert_hitl_detail(
            ti_id=context["task_instance"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            params=self.serialized_params,
            assigned_users=self.assigned_users,
        )
        self.defer(
            trigger=ReleaseTrigger(self.release_id, Phase.AWAITING_APPROVAL.value, 0, EVERY, ti_id),
            method_name="execute_complete",
        )

    def _record(self, event: dict[str, Any], ti_id: str) -> None:
        """Write the person's answer as intent; the next pass over the release obeys it."""
        from perennial import wiring
        from perennial.core.release import Intent, IntentKind

        store = wiring.store()
        status = store.releases.load(self.release_id)
        if status is None:
            raise AirflowFailException(f"there is no release {self.release_id}")
        kind = IntentKind.APPROVE if APPROVE in event["chosen"] else IntentKind.REJECT
        store.intents.put(
            Intent(
                id=f"airflow-{ti_id}-{event['at']}",
                release_id=self.release_id,
                kind=kind,
                actor=event["by"] or "airflow",  # under that name no approval counts
                at=datetime.now(UTC),
                digest=status.candidate.digest,
                note=event["note"],
                channel="airflow",
            )
        )


def judge(event: dict[str, Any]) -> str:
    """The phase, or the exception that shows in Airflow how the release ended: no retry changes that."""
    phase, why = event["phase"], event["why"]
    if phase == "SUPERSEDED":
        raise AirflowSkipException(f"a newer candidate took over: {why}")
    if phase in ("ROLLED_BACK", "REJECTED"):
        raise AirflowFailException(f"the release ended {phase}: {why}")
    return phase
