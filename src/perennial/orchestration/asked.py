"""Who asked for a run, and why: from the run itself and our ledger, never from an XCom.

Whoever may start a DAG may also rewrite XComs and raise asset events, in any words. What an event says of
itself therefore counts only where the ledger, or the DAG that raised it, says so too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from perennial.core.approval import AND
from perennial.core.spec import Reason
from perennial.errors import NotAllowed

Recorded = Callable[[str], str | None]
"""Key of a request for a retraining -> who asked, by the ledger; None where it knows of none."""


class Asked(NamedTuple):
    who: str
    """Accounts, with AND between them: none of them may approve what comes of it."""
    reason: str
    text: str


def of_training(
    run: Any, params: Mapping[str, Any], triggering: Mapping[Any, Any], recorded: Recorded
) -> Asked:
    """Of several requests that one run answers, the newest says why; all of them asked.

    Args:
        run: Airflow's `dag_run`. triggering: its `triggering_asset_events`.

    Raises:
        NotAllowed: no event that started it is a request that the ledger knows.
    """
    events = _events(triggering)
    if not events:
        if str(run.run_type).endswith("scheduled"):
            return Asked("schedule", Reason.SCHEDULE.value, "the weekly training")
        return Asked(run.triggering_user_name or "airflow", params["reason"], params["text"] or "")
    known = [(recorded(str(one.extra.get("key"))), one.extra) for one in events]
    known = [(who, extra) for who, extra in known if who is not None]
    if not known:
        raise NotAllowed(
            "nobody is known to have asked for this retraining: the ledger has no such request",
            hint='perennial retrain MODEL --reason "...", or trigger the DAG',
        )
    newest = known[-1][1]
    who = AND.join(dict.fromkeys(who for who, _ in known))
    return Asked(who, str(newest["reason"]), str(newest["text"]))


def candidate(
    run: Any, params: Mapping[str, Any], triggering: Mapping[Any, Any], train_dag: str
) -> tuple[str, str]:
    """Version or alias that a run of the release DAG is about, and who asked for it.

    Of several candidates that wait, the newest: it would supersede the others.

    Raises:
        NotAllowed: no event that started it was raised by the training DAG.
    """
    events = _events(triggering)
    if not events:
        return params["version"], run.triggering_user_name or "airflow"
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


def recorded(model: str, key: str) -> str | None:
    """Who asked under this key, by our ledger."""
    from perennial import wiring
    from perennial.core.retrain import REQUESTED

    rows = wiring.store().ledger.rows(model, kinds=(REQUESTED,))
    return next((row.entry.actor for row in rows if row.entry.payload.get("key") == key), None)


def _events(triggering: Mapping[Any, Collection[Any]] | None) -> list[Any]:
    """Oldest first."""
    found = [event for group in (triggering or {}).values() for event in group]
    return sorted(found, key=lambda one: one.timestamp)


def _is_of(event: Any, dag: str) -> bool:
    return event.source_dag_id == dag and not event.extra.get("from_rest_api")
