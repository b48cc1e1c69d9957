"""The way of every version of a model through its releases, read out of the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime, Field

from perennial.core.events import LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.governance.why import ROLLBACK, WITHDRAWN, told


class Fact(Frozen):
    """One thing that happened to a version."""

    at: AwareDatetime
    what: str
    actor: str
    why: str = ""
    entry: int = Field(description="of the ledger")


class Way(Frozen):
    """Everything that happened to one version, in order."""

    version: str
    digest: str | None = Field(description="None: nothing but a name is in the ledger")
    facts: tuple[Fact, ...]


def ways(rows: Iterable[LedgerRow]) -> list[Way]:
    """Per version, in the order in which they first appear.

    A rollback is a fact of both versions: the one that lost the traffic and the one that got it back.

    Args:
        rows: of one model, in order.
    """
    digests: dict[str, str | None] = {}
    facts: dict[str, list[Fact]] = {}
    for row in rows:
        for version, digest, fact in _facts(row):
            facts.setdefault(version, []).append(fact)
            digests[version] = digest or digests.get(version)
    return [Way(version=name, digest=digests[name], facts=tuple(found)) for name, found in facts.items()]


def _facts(row: LedgerRow) -> Iterable[tuple[str, str | None, Fact]]:
    one = row.entry
    if one.kind == ROLLBACK:
        left, back = one.payload["from"], one.payload["to"]
        yield left, None, _fact(row, f"lost the traffic to {back} by rollback")
        yield back, one.digest, _fact(row, f"got the traffic back from {left} by rollback")
    elif one.kind == WITHDRAWN:
        kept = one.payload["to"]
        yield (
            one.payload["version"],
            one.digest,
            _fact(row, f"lost its share by rollback, {kept} stayed champion"),
        )
    elif "version" in one.payload:
        yield one.payload["version"], one.digest, _fact(row, _what(row))


def _what(row: LedgerRow) -> str:
    said = row.entry.payload
    extra = [f"{said[name]:g} %" if name == "weight" else str(said[name]) for name in NAMED if name in said]
    return " ".join((row.entry.kind.removeprefix("release."), *extra))


NAMED = ("weight", "verdict", "channel")


def _fact(row: LedgerRow, what: str) -> Fact:
    return Fact(at=row.entry.at, what=what, actor=row.entry.actor, why=told(row), entry=row.seq)
