"""What served at a time, who allowed it on what evidence, and what was refused: read out of the ledger alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, account_key
from perennial.core.payloads import ApprovalEnded, GateFact, ReleaseOpened, TrafficMove, VersionFact
from perennial.core.spec import Frozen
from perennial.core.verdict import Judgement

SERVING = (Event.RELEASE_SUCCEEDED, Event.EMERGENCY_ROLLBACK)
"""After such an entry all traffic goes to the digest that it names."""
ENDED = (Event.RELEASE_REJECTED, Event.RELEASE_ROLLED_BACK, Event.RELEASE_SUPERSEDED)
REFUSED = (*ENDED, Event.EMERGENCY_ROLLBACK, Event.SHARE_WITHDRAWN)
FINAL = (*ENDED, Event.RELEASE_SUCCEEDED)
STEPS = (
    Event.RELEASE_SHADOW,
    Event.RELEASE_CANARY,
    Event.RELEASE_PROMOTING,
    Event.RELEASE_ABORTING,
    Event.RELEASE_SUCCEEDED,
)
APPROVAL_ENDED = (Event.RELEASE_APPROVAL_WITHDRAWN, Event.RELEASE_APPROVAL_LAPSED)

HOW = {
    Event.EMERGENCY_ROLLBACK.value: "rolled back after its promotion",
    Event.SHARE_WITHDRAWN.value: "its share was taken back by rollback",
}


class Served(Frozen):
    """Who had all traffic that no canary took."""

    version: str
    digest: str
    since: AwareDatetime
    by: str = Field(description="promotion, or rollback with who did it and why")
    release_id: str | None
    entry: int = Field(description="of the ledger")


class Allowed(Frozen):
    """An approval, and the digest that it was of."""

    actor: str
    at: AwareDatetime
    channel: str
    digest: str
    note: str = ""
    entry: int


class Refusal(Frozen):
    """A version that did not get the traffic, or lost it."""

    version: str
    digest: str | None
    at: AwareDatetime
    how: str
    actor: str
    why: str
    entry: int


class Hurdle(Frozen):
    """A rule that the version had to pass: its failure would have blocked it."""

    where: str = Field(description="gate, approval, or the step of the release")
    rule: str
    needed: str
    observed: str
    verdict: str


class OnItsWay(Frozen):
    """A release that had not ended at the time."""

    release_id: str
    version: str
    since: AwareDatetime
    last: str = Field(description="its last fact before the time")


class Why(Frozen):
    """The answer for one model at one time."""

    model: str
    at: AwareDatetime
    served: Served | None = Field(description="None: nobody yet")
    capsule: str | None = None
    spec: str | None = Field(None, description="digest of the model spec that the release started with")
    before: str | None = Field(None, description="version of the champion that it took over from")
    gate_verdict: str | None = None
    risk: str | None = None
    risk_reasons: tuple[str, ...] = ()
    approvals: tuple[Allowed, ...] = ()
    hurdles: tuple[Hurdle, ...] = Field((), description="with the last verdict of each rule")
    refused: tuple[Refusal, ...] = Field((), description="newest first")
    on_their_way: tuple[OnItsWay, ...] = ()


def explain(
    model: str,
    at: datetime,
    served: LedgerRow | None,
    story: Sequence[LedgerRow],
    refused: Sequence[LedgerRow],
    others: Iterable[Sequence[LedgerRow]],
) -> Why:
    """Put the entries together; all are from `at` or before.

    Args:
        served: the last entry of SERVING.
        story: of the release that had brought the served version to its traffic, in order.
        refused: entries of REFUSED, in order.
        others: the stories of releases opened last.
    """
    opening, gating = _last(story, Event.RELEASE_OPENED), _last(story, Event.RELEASE_GATED)
    opened = ReleaseOpened.read(opening) if opening else None
    gate = GateFact.read(gating) if gating else None
    return Why(
        model=model,
        at=at,
        served=None if served is None else _served(served),
        capsule=opened.capsule if opened else None,
        spec=opened.spec if opened else None,
        before=opened.champion if opened else None,
        gate_verdict=gate.verdict if gate else None,
        risk=gate.risk if gate else None,
        risk_reasons=gate.risk_reasons if gate else (),
        approvals=tuple(map(_allowed, _standing(story))),
        hurdles=tuple(_hurdles(story, gate)),
        refused=tuple(_refusal(row) for row in reversed(refused)),
        on_their_way=tuple(_on_its_way(rows) for rows in others if rows and not has_ended(rows)),
    )


def has_ended(rows: Sequence[LedgerRow]) -> bool:
    return any(row.entry.kind in FINAL for row in rows)


def _last(rows: Sequence[LedgerRow], event: Event) -> Entry | None:
    return next((row.entry for row in reversed(rows) if row.entry.kind == event), None)


def _served(row: LedgerRow) -> Served:
    entry, fact = row.entry, VersionFact.read(row.entry)
    version, by = fact.version, "promotion"
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        move = TrafficMove.read(entry)
        note = f": {fact.reason}" if fact.reason else ""
        version, by = move.to, f"rollback from {move.left} by {entry.actor}{note}"
    return Served(
        version=version or "",
        digest=entry.digest or "",
        since=entry.at,
        by=by,
        release_id=entry.release_id,
        entry=row.seq,
    )


def _allowed(row: LedgerRow) -> Allowed:
    entry, fact = row.entry, VersionFact.read(row.entry)
    return Allowed(
        actor=entry.actor,
        at=entry.at,
        channel=fact.channel or "",
        digest=entry.digest or "",
        note=fact.note or "",
        entry=row.seq,
    )


def _standing(story: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The approvals that were neither taken back nor lapsed."""
    approvals: dict[str, LedgerRow] = {}
    for row in story:
        entry = row.entry
        if entry.kind == Event.RELEASE_APPROVED:
            approvals[account_key(entry.actor)] = row
        elif entry.kind in APPROVAL_ENDED:
            approvals.pop(account_key(ApprovalEnded.read(entry).of or entry.actor), None)
    return list(approvals.values())


def _refusal(row: LedgerRow) -> Refusal:
    """A rollback's digest is the one that took over; the refused version is the one it names as `from`."""
    entry, fact = row.entry, VersionFact.read(row.entry)
    back = entry.kind == Event.EMERGENCY_ROLLBACK
    return Refusal(
        version=(TrafficMove.read(entry).left if back else fact.version) or "",
        digest=None if back else entry.digest,
        at=entry.at,
        how=HOW.get(entry.kind, entry.fact),
        actor=entry.actor,
        why=fact.reason,
        entry=row.seq,
    )


def _hurdles(story: Sequence[LedgerRow], gate: GateFact | None) -> Iterable[Hurdle]:
    if gate is not None:
        yield from (_hurdle("gate", rule) for rule in gate.rules)
        asked = _last(story, Event.RELEASE_AWAITING_APPROVAL)
        given = _standing(story)
        yield Hurdle(
            where="approval",
            rule="approval",
            needed=f"people's: {VersionFact.read(asked).reason}"
            if asked
            else "the spec's policy, or a person's",
            observed=f"by {', '.join(dict.fromkeys(row.entry.actor for row in given))}" if given else "none",
            verdict="PASS" if any(row.entry.kind == Event.RELEASE_LOADING for row in story) else "UNSURE",
        )
    # An entry of a step carries the evidence of the one that it ended.
    where = "release"
    for row in story:
        if row.entry.kind in STEPS:
            fact = VersionFact.read(row.entry)
            yield from (_hurdle(where, rule) for rule in fact.evidence)
            where = row.entry.fact + ("" if fact.weight is None else f" {fact.weight:g} %")


def _hurdle(where: str, rule: Judgement) -> Hurdle:
    return Hurdle(
        where=where, rule=rule.rule, needed=rule.needed, observed=rule.observed, verdict=rule.verdict.value
    )


def _on_its_way(rows: Sequence[LedgerRow]) -> OnItsWay:
    first, last = rows[0].entry, rows[-1].entry
    return OnItsWay(
        release_id=first.release_id or "",
        version=ReleaseOpened.read(first).version,
        since=first.at,
        last=last.fact,
    )
