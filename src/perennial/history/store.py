"""The history store: a folder of Parquet parts per history, appended to and never changed.

Layout below the folder given: `<history>/<content hash>.parquet`, one file per append, and
`<history>/SOURCE.json`. The name is a hash of the rows, so that the same append again changes nothing;
a part appears by rename, so that a killed append leaves nothing that is read.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from pydantic import ValidationError

from perennial.core.frozen import Frozen
from perennial.errors import DatasetMissing, MalformedInput, UsageError
from perennial.files import replacing, write_text
from perennial.history import schema


class HistorySource(Frozen):
    """Where a history came from, in words for people and for the capsule."""

    source: str
    why: str
    at: datetime


class HistoryStore:
    """All histories below one folder (`settings.history_dir`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Histories that hold at least one execution."""
        return sorted({path.parent.name for path in self._folder.glob("*/*.parquet")})

    def exists(self, history: str) -> bool:
        return bool(self._parts(history))

    def append(self, history: str, frame: pd.DataFrame, source: HistorySource | None = None) -> int:
        """Add the executions that are not yet there; returns how many were added.

        The source is recorded with them; a history fed by several sources names them all. None: more of
        the source that is recorded already.

        Raises:
            UsageError: no source is given and none is recorded.
            MalformedInput: the frame does not fit the schema, or an execution id that is already there
                comes with other values. Nothing is changed then.
        """
        new = schema.conform(frame, f"append to history {history!r}")
        folder = self._of(history)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if self._parts(history):
                new = _unknown_rows(self.load(history), new, history)
            if new.empty:
                return 0
            # The source first: killed here, the history lacks the rows, but never the source of its rows.
            self._record(history, source)
            with replacing(folder / f"{content_hash(new)}.parquet") as temporary:
                new.to_parquet(temporary, index=False)
        return len(new)

    def record_source(self, history: str, source: str, why: str, at: datetime) -> None:
        """Say where a history comes from before its rows arrive one cycle at a time.

        Raises:
            UsageError: the history holds rows of another source.
        """
        folder = self._of(history)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if self._parts(history):
                if self.source(history).source == source:
                    return
                raise UsageError(f"the history {history!r} has another source", hint="use a new history")
            write_text(
                folder / "SOURCE.json", HistorySource(source=source, why=why, at=at).model_dump_json(indent=2)
            )

    def load(self, history: str) -> pd.DataFrame:
        """All executions in the order of the schema.

        Raises:
            DatasetMissing: the history is empty.
            MalformedInput: a part cannot be read.
        """
        parts = self._parts(history)
        if not parts:
            known = ", ".join(self.names()) or "none"
            raise DatasetMissing(
                f"the history {history!r} is empty (histories with data: {known})",
                hint="perennial data bootstrap, or perennial data import-junit PATH...",
            )
        return schema.conform(pd.concat([_read(part) for part in parts]), f"history {history!r}")

    def last_cycle(self, history: str) -> int | None:
        """The highest cycle number; None for an empty history."""
        if not self.exists(history):
            return None
        return int(self.load(history)["cycle"].max())

    def source(self, history: str) -> HistorySource:
        """Where the executions of a history came from.

        Raises:
            DatasetMissing: the history is empty.
            MalformedInput: SOURCE.json is damaged or gone.
        """
        if not self.exists(history):
            raise DatasetMissing(f"the history {history!r} is empty", hint="perennial data bootstrap")
        path = self._of(history) / "SOURCE.json"
        try:
            return HistorySource.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise MalformedInput(
                f"{path} cannot be read: {error}", hint="remove the history's folder and ingest again"
            ) from error

    def _record(self, history: str, source: HistorySource | None) -> None:
        path = self._of(history) / "SOURCE.json"
        if source is not None:
            write_text(path, self._merged(history, source).model_dump_json(indent=2))
        elif not path.is_file():
            raise UsageError(
                f"nothing says where the history {history!r} comes from", hint="append with a source"
            )

    def _merged(self, history: str, source: HistorySource) -> HistorySource:
        if not self.exists(history):
            return source
        before = self.source(history)
        if source.source in before.source.split(" + "):
            return before
        return HistorySource(
            source=f"{before.source} + {source.source}", why=f"{before.why}; {source.why}", at=source.at
        )

    def _of(self, history: str) -> Path:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,63}", history):
            raise UsageError(
                f"{history!r} is no name for a history", hint="lower case letters, digits, _ . -"
            )
        return self._folder / history

    def _parts(self, history: str) -> list[Path]:
        return sorted(self._of(history).glob("*.parquet"))


def content_hash(frame: pd.DataFrame) -> str:
    """20 hex digits over the values of all rows in order."""
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()[:20]


def _unknown_rows(known: pd.DataFrame, new: pd.DataFrame, history: str) -> pd.DataFrame:
    again = new["execution_id"].isin(known["execution_id"])
    stored = known.set_index("execution_id").loc[new.loc[again, "execution_id"]].reset_index()
    came = new.loc[again].reset_index(drop=True)[stored.columns]
    differ = (stored != came).any(axis=1)
    if differ.any():
        row = int(differ.to_numpy().argmax())
        columns = [name for name in stored.columns if stored[name].iloc[row] != came[name].iloc[row]]
        raise MalformedInput(
            f"history {history!r}: execution {came['execution_id'].iloc[row]} is already there with another "
            f"{', '.join(columns)}",
            hint="an execution never changes; import corrected data into a new history",
        )
    return new.loc[~again].reset_index(drop=True)


def _read(part: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(part)
    except (pyarrow.ArrowException, OSError) as error:
        raise MalformedInput(f"{part} cannot be read: {error}", hint="remove it and ingest again") from error


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Figures of a history for people: counts, share of failed executions, first and last start."""
    return {
        "cycles": int(frame["cycle"].nunique()),
        "first_cycle": int(frame["cycle"].min()),
        "last_cycle": int(frame["cycle"].max()),
        "tests": int(frame["test_id"].nunique()),
        "executions": len(frame),
        "failure_rate": float(frame["verdict"].mean()),
        "first_start": frame["started_at"].min().isoformat(),
        "last_start": frame["started_at"].max().isoformat(),
    }
