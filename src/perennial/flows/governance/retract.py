"""Take a cycle or an import out of a history: a new data revision and a ledger entry, then the history."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from perennial.core.events import Entry, Event
from perennial.errors import UsageError
from perennial.flows.governance.identity import NO_MODEL
from perennial.flows.training.workdir import write_table
from perennial.history.retraction import Retraction
from perennial.history.store import HistoryStore
from perennial.ports import DataStore, Ledger


def retract(
    store: HistoryStore,
    history: str,
    which: int | str,
    reason: str,
    actor: str,
    data: DataStore,
    ledger: Ledger,
    now: datetime,
) -> tuple[Retraction, bool]:
    """Take a cycle (number) or an import (id) out; the rows before and after become data revisions.

    Killed anywhere, it can be repeated: the same rows give the same revisions, the same retraction has one entry
    in the ledger, and the history changes last.

    Returns:
        The retraction, and whether this call made it.

    Raises:
        UsageError: the reason is empty.
        DatasetMissing: the history has no such cycle or import.
        ToolError: the data store failed; nothing is changed.
        StoreUnavailable: the database does not answer; the history is unchanged.
    """
    if not reason.strip():
        raise UsageError("a reason in words is needed", hint='--reason "..."')

    def record(retraction: Retraction, before: pd.DataFrame, after: pd.DataFrame) -> None:
        revisions = {
            "before": _commit(data, history, before, f"{history}: {len(before)} executions"),
            "after": _commit(
                data, history, after, f"{history}: without {retraction.of}: {retraction.reason}"
            ),
        }
        if any(
            row.entry.payload.get("id") == retraction.id for row in ledger.rows(kinds=(Event.DATA_RETRACTED,))
        ):
            return
        facts = retraction.model_dump(mode="json", include={"id", "of", "executions", "reason", "parts"})
        payload = {"history": history, **facts, **revisions}
        ledger.append(Entry(at=now, actor=actor, kind=Event.DATA_RETRACTED, model=NO_MODEL, payload=payload))

    return store.retract(history, which, actor, reason.strip(), now, record)


def _commit(data: DataStore, history: str, rows: pd.DataFrame, message: str) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{history}.parquet"
        write_table(path, rows)
        return data.commit({f"history/{history}.parquet": path}, message).revision
