"""A trigger that moves one release forward and fires when it has passed a phase.

It lives in Airflow's triggerer, so that no worker is held for hours. All state is in our SQL database
(absolute times), so a killed triggerer resumes where the release stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.errors import PerennialError

ORDER = (
    Phase.PENDING,
    Phase.GATED,
    Phase.AWAITING_APPROVAL,
    Phase.LOADING,
    Phase.SHADOW,
    Phase.CANARY,
    Phase.PROMOTING,
    Phase.SUCCEEDED,
)


def passed(status: ReleaseStatus, phase: str, step: int) -> bool:
    """Return whether the release is beyond `phase` (in CANARY: beyond its step), or has ended."""
    if status.phase.is_final():
        return True
    if status.phase is Phase.ABORTING:
        return False
    now, wanted = ORDER.index(status.phase), ORDER.index(Phase(phase))
    if now == wanted and Phase(phase) is Phase.CANARY:
        return status.step > step
    return now > wanted


def reconcile(release_id: str) -> ReleaseStatus:
    """Make a pass over the release with the real adapters."""
    from perennial.flows.release import reconcile as flow
    from perennial.wiring import releasing

    return flow.reconcile(release_id, releasing.release_ports(), datetime.now(UTC))


def try_to_reconcile(release_id: str, log: Any) -> ReleaseStatus | None:
    """Make a pass; where a tool is down, log it and return None: the next pass tries again."""
    try:
        return reconcile(release_id)
    except PerennialError as error:
        log.warning("%s: %s -> %s", type(error).__name__, error.message, error.hint)
        return None


class ReleaseTrigger(BaseTrigger):
    """Trigger that reconciles every `every` seconds until the release has passed `phase`.

    With `ti_id` it also waits for a person's answer to that task's prompt in Airflow's UI.
    """

    def __init__(
        self, release_id: str, phase: str, step: int, every: float, ti_id: str | None = None
    ) -> None:
        super().__init__()
        self.release_id = release_id
        self.phase = phase
        self.step = step
        self.every = every
        self.ti_id = ti_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "perennial.orchestration.release_trigger.ReleaseTrigger",
            {
                "release_id": self.release_id,
                "phase": self.phase,
                "step": self.step,
                "every": self.every,
                "ti_id": self.ti_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            status = await asyncio.to_thread(try_to_reconcile, self.release_id, self.log)
            if status is not None and passed(status, self.phase, self.step):
                yield TriggerEvent({"phase": status.phase.value, "why": status.note})
                return
            answer = await self._answer()
            if answer is not None:
                yield TriggerEvent(answer)
                return
            await asyncio.sleep(self.every)

    async def _answer(self) -> dict[str, Any] | None:
        """Return the answer given in Airflow's UI and its author; None while there is none."""
        if self.ti_id is None:
            return None
        from uuid import UUID

        from airflow.sdk.execution_time.hitl import get_hitl_detail_content_detail

        detail = await asyncio.to_thread(get_hitl_detail_content_detail, ti_id=UUID(self.ti_id))
        if not (detail.response_received and detail.chosen_options):
            return None
        person = detail.responded_by_user
        return {
            "chosen": list(detail.chosen_options),
            "note": str((detail.params_input or {}).get("note") or ""),
            "by": person.name if person is not None else None,
            "at": detail.responded_at.isoformat() if detail.responded_at is not None else "",
        }
