"""The way of every version of a model through its releases, read out of the ledger."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import AwareDatetime, Field

from perennial.core.events import Event, LedgerRow
from perennial.core.payloads import TrafficMove, VersionFact
from perennial.core.spec import Frozen


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
    entry, fact = row.entry, VersionFact.read(row.entry)
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        move = TrafficMove.read(entry)
        left, back = move.left or "", move.to or ""
        yield left, None, _fact(row, f"lost the traffic to {back} by rollback", fact)
        yield back, entry.digest, _fact(row, f"got the traffic back from {left} by rollback", fact)
    elif fact.version is None:
        return
    elif entry.kind == Event.SHARE_WITHDRAWN:
        kept = TrafficMove.read(entry).to
        what = f"lost its share by rollback, {kept} stayed champion"
        yield fact.version, entry.digest, _fact(row, what, fact)
    else:
        weight = None if fact.weight is None else f"{fact.weight:g} %"
        what = " ".join(filter(None, (entry.fact, weight, fact.verdict, fact.channel)))
        yield fact.version, entry.digest, _fact(row, what, fact)


def _fact(row: LedgerRow, what: str, fact: VersionFact) -> Fact:
    return Fact(at=row.entry.at, what=what, actor=row.entry.actor, why=fact.reason, entry=row.seq)
