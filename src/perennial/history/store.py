"""The history store: a folder of Parquet parts per history, append-only.

Layout: `<history>/<content hash>.parquet`, a file per append, and `<history>/SOURCE.json`. The file name is a
hash of the rows, so a repeated append changes nothing; parts are written atomically. What `retract` takes out stays
in its part; a record in `<history>/retracted` says that it is out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
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
from perennial.history.retraction import (
    ImportRecord,
    Retraction,
    cycles_out,
    named,
    planned,
    read_retractions,
    write_retraction,
)


class HistorySource(Frozen):
    """Source of a history, for people and for the capsule."""

    source: str
    why: str
    at: datetime


class HistoryStore:
    """All histories below a folder (`settings.history_dir`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of non-empty histories."""
        histories = {path.parent.name for path in self._folder.glob("*/*.parquet")}
        return sorted(name for name in histories if self.exists(name))

    def exists(self, history: str) -> bool:
        """Return whether the history has executions."""
        if not self.retractions(history):
            return bool(self._parts(history))
        return any(not out.all() for _, _, out in self._frames(history, ["cycle"]))

    def append(self, history: str, frame: pd.DataFrame, source: HistorySource | None = None) -> int:
        """Append the new executions and return their number.

        The source is recorded with them; a history from several sources names them all. Executions that were
        taken out again stay out.

        Args:
            source: None if the rows come from the recorded source.

        Raises:
            UsageError: no source is given or recorded.
            MalformedInput: the frame does not fit the schema, or a stored execution id has other values;
                nothing is changed.
        """
        new = schema.conform(frame, f"append to history {history!r}")
        folder = self._of(history)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if self._parts(history):
                stored = pd.concat([frame for _, frame, _ in self._frames(history)])
                new = _unknown_rows(schema.conform(stored, f"history {history!r}"), new, history)
            if new.empty:
                return 0
            # The source first: after a kill here no row is without its source.
            self._record(history, source)
            with replacing(folder / f"{content_hash(new)}.parquet") as temporary:
                new.to_parquet(temporary, index=False)
        return len(new)

    def importing(self, history: str) -> FileLock:
        """Return a lock for an import that numbers its cycles after those of the history."""
        folder = self._of(history)
        folder.mkdir(parents=True, exist_ok=True)
        # Not the lock of `append`, which is taken inside.
        return FileLock(folder / ".import.lock")

    def record_source(self, history: str, source: str, why: str, at: datetime) -> None:
        """Record the source of a history before its rows arrive cycle by cycle.

        Raises:
            UsageError: the history has rows of another source.
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
        """Return all executions that were not taken out, in the order of the schema.

        Raises:
            DatasetMissing: the history is empty.
            MalformedInput: a part cannot be read.
        """
        if not self.exists(history):
            known = ", ".join(self.names()) or "none"
            raise DatasetMissing(
                f"the history {history!r} is empty (histories with data: {known})",
                hint="perennial data bootstrap, or perennial data import-junit PATH...",
            )
        kept = [frame[~out] for _, frame, out in self._frames(history)]
        return schema.conform(pd.concat(kept), f"history {history!r}")

    def taken_out(self, history: str) -> pd.DataFrame:
        """Return the executions that were taken out; they stay out when they are imported again."""
        if not self.retractions(history):
            return schema.empty()
        out = [frame[out] for _, frame, out in self._frames(history) if out.any()]
        return schema.conform(pd.concat(out), f"history {history!r}") if out else schema.empty()

    def retractions(self, history: str) -> list[Retraction]:
        """Return what was taken out of the history, in order of time."""
        return read_retractions(self._of(history))

    def imports(self, history: str) -> list[ImportRecord]:
        """Return the imports of a history in the order of their cycles.

        Raises:
            DatasetMissing: nothing was ever imported.
        """
        if not self._parts(history):
            raise DatasetMissing(f"the history {history!r} is empty", hint="perennial data bootstrap")
        records = [ImportRecord.of(*frame) for frame in self._frames(history)]
        return sorted(records, key=lambda record: (record.first_cycle, record.first_start, record.id))

    def retract(
        self,
        history: str,
        which: int | str,
        actor: str,
        reason: str,
        now: datetime,
        record: Callable[[Retraction, pd.DataFrame, pd.DataFrame], None],
    ) -> tuple[Retraction, bool]:
        """Take a cycle or an import out; killed anywhere, it can be repeated.

        Args:
            which: number of a cycle, or id of an import.
            record: called before anything changes, with the rows before and after.

        Returns:
            The retraction, and whether this call made it: what is out already changes nothing.

        Raises:
            DatasetMissing: there is no such cycle or import; nothing is changed.
        """
        self.imports(history)  # raises where there is none
        with FileLock(self._of(history) / ".lock"):
            parts = {name: frame for name, frame, _ in self._frames(history)}
            retraction, is_new = planned(parts, self.retractions(history), which, actor, reason, now)
            if retraction is None:
                raise DatasetMissing(
                    f"the history {history!r} has no {named(which)}", hint=f"perennial data log {history}"
                )
            if is_new:
                before, gone = self.load(history), retraction.rows(parts)["execution_id"]
                record(retraction, before, before[~before["execution_id"].isin(gone)].reset_index(drop=True))
                write_retraction(self._of(history), retraction)
        return retraction, is_new

    def last_cycle(self, history: str) -> int | None:
        """Return the highest cycle number; None for an empty history."""
        kept = [
            frame.loc[~out, "cycle"].max()
            for _, frame, out in self._frames(history, ["cycle"])
            if not out.all()
        ]
        return int(max(kept)) if kept else None

    def source(self, history: str) -> HistorySource:
        """Return the source of a history.

        Raises:
            DatasetMissing: the history is empty.
            MalformedInput: SOURCE.json is damaged or missing.
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

    def _frames(
        self, history: str, columns: list[str] | None = None
    ) -> Iterator[tuple[str, pd.DataFrame, pd.Series]]:
        """Yield each part: its id, its rows (all columns, or these with cycle), and which of them were taken out."""
        made = self.retractions(history)
        for path in self._parts(history):
            frame = _read(path, columns)
            yield path.stem, frame, frame["cycle"].isin(cycles_out(made, path.stem))

    def _parts(self, history: str) -> list[Path]:
        return sorted(self._of(history).glob("*.parquet"))


def content_hash(frame: pd.DataFrame) -> str:
    """Return 20 hex digits of a hash over the values of all rows in order."""
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


def _read(part: Path, columns: list[str] | None = None) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(part, columns=columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise MalformedInput(f"{part} cannot be read: {error}", hint="remove it and ingest again") from error


def summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Return figures of a history: counts, share of failed executions, first and last start."""
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
