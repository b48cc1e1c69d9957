"""Who asked for a run, and why: from the run itself and our ledger, never from an XCom.

Whoever may start a DAG may also rewrite XComs and raise asset events, in any words. What an event says of
itself therefore counts only where the ledger, or the DAG that raised it, says so too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.payloads import RetrainRequest
from perennial.core.release.approval import AND
from perennial.core.spec import Reason
from perennial.errors import NotAllowed

Recorded = Callable[[str, datetime], Entry | None]
"""Key and time of a request for a retraining -> what the ledger says of it; None where it knows of none."""
SOON = timedelta(minutes=5)
"""Event and entry are written one after the other: a key that was read in the ledger later opens nothing."""


class TriggerProvenance(NamedTuple):
    who: str
    """Accounts, with AND between them: none of them may approve what comes of it."""
    reason: str
    text: str


def training_provenance(
    run: Any, params: Mapping[str, Any], triggering: Mapping[Any, Any], recorded: Recorded
) -> TriggerProvenance:
    """Of several requests that one run answers, the newest says why; all of them asked.

    Args:
        run: Airflow's `dag_run`. triggering: its `triggering_asset_events`.

    Raises:
        NotAllowed: no event that started it is a request that the ledger knows.
    """
    events = _events(triggering)
    if not events:
        if str(run.run_type).endswith("scheduled"):
            return TriggerProvenance(SystemActor.SCHEDULE.value, Reason.SCHEDULE.value, "the weekly training")
        return TriggerProvenance(
            run.triggering_user_name or SystemActor.AIRFLOW.value, params["reason"], params["text"] or ""
        )
    entries = [recorded(str(one.extra.get("key")), one.timestamp) for one in events]
    known = [one for one in entries if one is not None]
    if not known:
        raise NotAllowed(
            "nobody is known to have asked for this retraining: the ledger has no such request",
            hint='perennial retrain MODEL --reason "...", or trigger the DAG',
        )
    newest = RetrainRequest.read(known[-1])
    who = AND.join(dict.fromkeys(one.actor for one in known))
    return TriggerProvenance(who, newest.reason.value, newest.text)


def offered_candidate(
    run: Any, params: Mapping[str, Any], triggering: Mapping[Any, Any], train_dag: str
) -> tuple[str, str]:
    """Version or alias that a run of the release DAG is about, and who asked for it.

    Of several candidates that wait, the newest: it would supersede the others.

    Raises:
        NotAllowed: no event that started it was raised by the training DAG.
    """
    events = _events(triggering)
    if not events:
        return params["version"], run.triggering_user_name or SystemActor.AIRFLOW.value
    offered = [one.extra for one in events if _is_of(one, train_dag)]
    if not offered:
        raise NotAllowed(
            f"this candidate was not offered by {train_dag}",
            hint="perennial release start MODEL --version VERSION, or trigger the DAG",
        )
    return str(offered[-1]["version"]), str(offered[-1]["who"])


def folder(work: str, model: str, run_id: str) -> str:
    """Work folder of one run: whatever the run is called, a name that is safe in a path."""
    return f"{work}/{model}/{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def recorded_request(model: str, key: str, at: datetime) -> Entry | None:
    """The request of this key in our ledger, if it was made about then."""
    from perennial.wiring import database

    rows = database.store().ledger.rows(model, kinds=(Event.RETRAIN_REQUESTED,))
    found = (row.entry for row in rows if RetrainRequest.read(row.entry).key == key)
    return next((one for one in found if abs(one.at - at) <= SOON), None)


def _events(triggering: Mapping[Any, Collection[Any]] | None) -> list[Any]:
    """Oldest first."""
    found = [event for group in (triggering or {}).values() for event in group]
    return sorted(found, key=lambda one: one.timestamp)


def _is_of(event: Any, dag: str) -> bool:
    return event.source_dag_id == dag and not event.extra.get("from_rest_api")
