"""Provenance of a DAG run: its requester and reason, from the run itself and our ledger, never from an XCom.

An account that may start a DAG may also rewrite XComs and raise asset events with any content. So an event
counts only where the ledger, or the DAG that raised it, confirms it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from perennial.core.assets import Reason
from perennial.core.events import Entry, Event, SystemActor
from perennial.core.payloads import RetrainRequest
from perennial.core.release.approval import AND
from perennial.core.release.status import ReleaseStatus
from perennial.errors import NotAllowed
from perennial.ports import Ledger

Recorded = Callable[[str, datetime, str], Entry | None]
"""Key and time of a request for a retraining, and the run that answers it -> its entry in the ledger; None where
there is none, or where another run answered it."""
SOON = timedelta(minutes=5)
"""Longest time between event and entry, which are written together: a key read in the ledger later is no proof."""
NOTE_EVERY = timedelta(minutes=1)
"""An account's changes of a DAG's runs are recorded once in this time."""
EVERY_DAG = "~"
"""Airflow's word for all DAGs."""
Changed = Callable[[str, datetime], Collection[str]]
"""DAG and time -> accounts that changed its runs or tasks since."""


class TriggerProvenance(NamedTuple):
    """Requester and reason of a training run."""

    who: str
    """Accounts, separated by AND: none of them may approve the result."""
    reason: str
    text: str


def training_provenance(
    run: Any,
    params: Mapping[str, Any],
    triggering: Mapping[Any, Any],
    recorded: Recorded,
    changed: Changed,
) -> TriggerProvenance:
    """Return requester and reason of a training run; of several requests the newest gives the reason.

    Args:
        run: Airflow's `dag_run`. triggering: its `triggering_asset_events`.
        changed: whoever clears or edits a run starts it anew, so they count as its requesters, too.

    Raises:
        NotAllowed: no event that started it is a request that the ledger knows and no other run answered.
    """
    events, due = _events(triggering), run.run_after
    if not events:
        if str(run.run_type).endswith("scheduled"):
            who = _with_changes(SystemActor.SCHEDULE.value, run.dag_id, due, changed)
            return TriggerProvenance(who, Reason.SCHEDULE.value, "the weekly training")
        who = _with_changes(run.triggering_user_name or SystemActor.AIRFLOW.value, run.dag_id, due, changed)
        return TriggerProvenance(who, params["reason"], params["text"] or "")
    entries = [recorded(str(event.extra.get("key")), event.timestamp, run.run_id) for event in events]
    known = [entry for entry in entries if entry is not None]
    if not known:
        raise NotAllowed(
            "nobody is known to have asked for this retraining: the ledger has no such request, "
            "or another run answered it",
            hint='perennial retrain MODEL --reason "...", or trigger the DAG',
        )
    newest = RetrainRequest.read(known[-1])
    # From the request on: a run of it may have been deleted, and the event raised again.
    due = min(due, *(entry.at for entry in known))
    who = _with_changes(AND.join(dict.fromkeys(entry.actor for entry in known)), run.dag_id, due, changed)
    return TriggerProvenance(who, newest.reason.value, newest.text)


def offered_candidate(
    run: Any, params: Mapping[str, Any], triggering: Mapping[Any, Any], train_dag: str, changed: Changed
) -> tuple[str, str]:
    """Return version or alias of the candidate of a release run, and its requester.

    Of several waiting candidates the newest is taken: it would supersede the others.

    Raises:
        NotAllowed: no event that started it was raised by the training DAG.
    """
    events = _events(triggering)
    if not events:
        who = run.triggering_user_name or SystemActor.AIRFLOW.value
        return params["version"], _with_changes(who, run.dag_id, run.run_after, changed)
    offered = [event.extra for event in events if _is_of(event, train_dag)]
    if not offered:
        raise NotAllowed(
            f"this candidate was not offered by {train_dag}",
            hint="perennial release start MODEL --version VERSION, or trigger the DAG",
        )
    version, who = str(offered[-1]["version"]), str(offered[-1]["who"])
    return version, _with_changes(who, run.dag_id, run.run_after, changed)


def _with_changes(who: str, dag: str, due: datetime, changed: Changed) -> str:
    """Return the requesters and whoever changed runs of the DAG since one was due.

    No run is due later than it is made (`auth_manager`), so that whatever was done to it counts.
    """
    return AND.join(dict.fromkeys((*who.split(AND), *changed(dag, due - NOTE_EVERY))))


def changed_entry(name: str, dag: str, at: datetime) -> Entry:
    """Return the entry of an account that changes runs or tasks of a DAG."""
    return Entry(at=at, actor=name, kind=Event.DAG_RUN_CHANGED, model="", payload={"dag": dag})


def recorded_changes(dag: str, since: datetime) -> tuple[str, ...]:
    """Return the accounts that changed runs or tasks of a DAG since then, by the ledger."""
    from perennial.wiring import database

    rows = database.store().ledger.rows("", kinds=(Event.DAG_RUN_CHANGED,))
    entries = (row.entry for row in rows if row.entry.at >= since)
    return tuple(
        dict.fromkeys(entry.actor for entry in entries if entry.payload.get("dag") in (dag, EVERY_DAG))
    )


def record_release(status: ReleaseStatus, run_id: str, ledger: Ledger, now: datetime) -> None:
    """Record which release a run of the release DAG is about."""
    ledger.append(
        Entry(
            at=now,
            actor=SystemActor.AIRFLOW,
            kind=Event.DAG_RUN_RELEASE,
            model=status.model,
            release_id=status.release_id,
            digest=status.candidate.digest,
            payload={"run": run_id},
        )
    )


def release_of(run_id: str, model: str) -> str:
    """Return the id of the release that a run of the release DAG is about; its newest gate says so.

    Raises:
        NotAllowed: its gate has opened none.
    """
    from perennial.wiring import database

    rows = database.store().ledger.rows(model, kinds=(Event.DAG_RUN_RELEASE,))
    releases = [row.entry.release_id for row in rows if row.entry.payload.get("run") == run_id]
    if not releases or releases[-1] is None:
        raise NotAllowed(f"the gate of the run {run_id} has opened no release", hint="clear the task `gate`")
    return releases[-1]


def folder(work: str, model: str, run_id: str) -> str:
    """Return the work folder of a run; its name is safe in a path whatever the run is called."""
    return f"{work}/{model}/{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def recorded_request(model: str, key: str, at: datetime, run_id: str) -> Entry | None:
    """Return the ledger's entry of the request with this key, if it was made at about this time.

    The first run that asks answers the request, and it may ask again; None for every other run: people can read
    the event of a request and raise it once more.
    """
    from perennial.wiring import database

    ledger = database.store().ledger
    rows = ledger.rows(model, kinds=(Event.RETRAIN_REQUESTED,))
    entries = (row.entry for row in rows if RetrainRequest.read(row.entry).key == key)
    request = next((entry for entry in entries if abs(entry.at - at) <= SOON), None)
    if request is None:
        return None
    if not (runs := _answering(model, key, ledger)):
        answer = {"key": key, "run": run_id}
        ledger.append(
            Entry(
                at=datetime.now(UTC),
                actor=SystemActor.AIRFLOW,
                kind=Event.DAG_RUN_REQUEST,
                model=model,
                payload=answer,
            )
        )
        runs = _answering(model, key, ledger)  # two runs may have asked at once: the first entry decides
    return request if runs[0] == run_id else None


def _answering(model: str, key: str, ledger: Ledger) -> list[str]:
    """Return the runs that asked for a request, in the order of the ledger."""
    rows = ledger.rows(model, kinds=(Event.DAG_RUN_REQUEST,))
    return [str(row.entry.payload["run"]) for row in rows if row.entry.payload.get("key") == key]


def _events(triggering: Mapping[Any, Collection[Any]] | None) -> list[Any]:
    """Return the events of all assets, oldest first."""
    events = [event for group in (triggering or {}).values() for event in group]
    return sorted(events, key=lambda event: event.timestamp)


def _is_of(event: Any, dag: str) -> bool:
    return event.source_dag_id == dag and not event.extra.get("from_rest_api")
