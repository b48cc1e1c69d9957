"""Records of what was taken out of a history again; they lie beside the parts, whose bytes stay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd
from pydantic import Field, ValidationError

from perennial.core.frozen import Frozen, canonical
from perennial.errors import MalformedInput
from perennial.files import write_text

FOLDER = "retracted"


class ImportRecord(Frozen):
    """An import of a history: a part, with the id that `retract` takes."""

    id: str
    first_cycle: int
    last_cycle: int
    executions: int
    first_start: datetime
    last_start: datetime
    retracted: int = Field(description="executions that were taken out again")

    @classmethod
    def of(cls, part: str, frame: pd.DataFrame, out: pd.Series) -> ImportRecord:
        """Return the record of a part; `out` says which of its rows were taken out."""
        cycles, starts = frame["cycle"], frame["started_at"]
        return cls(
            id=part,
            first_cycle=int(cycles.min()),
            last_cycle=int(cycles.max()),
            executions=len(frame),
            first_start=starts.min(),
            last_start=starts.max(),
            retracted=int(out.sum()),
        )


class Retraction(Frozen):
    """Rows taken out of a history. A later import is another part, so none of it is covered."""

    id: str
    of: str = Field(description="a cycle or an import, in words")
    parts: dict[str, tuple[int, ...]] = Field(description="part -> cycles of it that are out")
    executions: int
    actor: str
    reason: str
    at: datetime

    def touches(self, chosen: Mapping[str, set[int]]) -> bool:
        """Return whether any of these cycles of parts is out by this retraction."""
        return any(cycles.intersection(self.parts.get(part, ())) for part, cycles in chosen.items())

    def rows(self, parts: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """Return the rows that are out."""
        rows = [parts[part][parts[part]["cycle"].isin(cycles)] for part, cycles in self.parts.items()]
        return pd.concat(rows)


def named(which: int | str) -> str:
    """Return a cycle number, or the id of an import, in words."""
    return f"cycle {which}" if isinstance(which, int) else f"import {which}"


def planned(
    parts: Mapping[str, pd.DataFrame],
    made: list[Retraction],
    which: int | str,
    actor: str,
    reason: str,
    now: datetime,
) -> tuple[Retraction | None, bool]:
    """Return the retraction of a cycle or an import, and whether it is new.

    Where all of it is out already, that is the newest retraction that took some of it out; None: there is no such
    cycle or import.
    """
    chosen = _chosen(parts, which)
    if not chosen:
        return None, False
    left = {part: tuple(sorted(cycles - cycles_out(made, part))) for part, cycles in chosen.items()}
    fresh = {part: cycles for part, cycles in left.items() if cycles}
    if not fresh:
        return [old for old in made if old.touches(chosen)][-1], False
    # The same for a repeated call, so that a call that was killed has one entry in the ledger.
    identity = hashlib.sha256(canonical([named(which), fresh]).encode()).hexdigest()[:12]
    retraction = Retraction(
        id=identity, of=named(which), parts=fresh, executions=1, actor=actor, reason=reason, at=now
    )
    return retraction.model_copy(update={"executions": len(retraction.rows(parts))}), True


def read_retractions(history: Path) -> list[Retraction]:
    """Return the retractions of a history's folder, in order of time.

    Raises:
        MalformedInput: a record is damaged.
    """
    retractions = []
    for path in (history / FOLDER).glob("*.json"):
        try:
            retractions.append(Retraction.model_validate_json(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise MalformedInput(
                f"{path} cannot be read: {error}", hint="restore it; `perennial ledger show` has its content"
            ) from error
    return sorted(retractions, key=lambda retraction: (retraction.at, retraction.id))


def write_retraction(history: Path, retraction: Retraction) -> None:
    """Write the record atomically; from then on its rows are out."""
    write_text(history / FOLDER / f"{retraction.id}.json", retraction.model_dump_json(indent=2))


def cycles_out(retractions: list[Retraction], part: str) -> set[int]:
    """Return the cycles of a part that were taken out."""
    return {cycle for retraction in retractions for cycle in retraction.parts.get(part, ())}


def _chosen(parts: Mapping[str, pd.DataFrame], which: int | str) -> dict[str, set[int]]:
    """Return part -> its cycles that a cycle number, or the id of an import, names; other parts are missing."""
    cycles = {part: {int(cycle) for cycle in frame["cycle"].unique()} for part, frame in parts.items()}
    if isinstance(which, str):
        return {which: cycles[which]} if which in cycles else {}
    return {part: {which} for part, numbers in cycles.items() if which in numbers}
