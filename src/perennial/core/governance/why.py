"""Explain from the ledger which version served at a time, who approved it, on what evidence, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, account_key
from perennial.core.frozen import Frozen
from perennial.core.payloads import ApprovalEnded, GateFact, ReleaseOpened, TrafficMove, VersionFact
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


class ServedVersion(Frozen):
    """The champion: the version with all traffic that no canary gets."""

    version: str
    digest: str
    since: AwareDatetime
    by: str = Field(description="promotion, or rollback with actor and reason")
    release_id: str | None
    entry: int = Field(description="sequence number in the ledger")


class RecordedApproval(Frozen):
    """An approval of a digest, as the ledger has it."""

    actor: str
    at: AwareDatetime
    channel: str
    digest: str
    note: str = ""
    entry: int


class Refusal(Frozen):
    """A version that did not get traffic, or lost it."""

    version: str
    digest: str | None
    at: AwareDatetime
    how: str
    actor: str
    why: str
    entry: int


class RequiredCheck(Frozen):
    """A check that the version had to pass; a failure would have blocked it."""

    where: str = Field(description="gate, approval, or the step of the release")
    rule: str
    needed: str
    observed: str
    verdict: str


class OpenRelease(Frozen):
    """A release that had not ended at that time."""

    release_id: str
    version: str
    since: AwareDatetime
    last: str = Field(description="its last fact before the time")


class ServingExplanation(Frozen):
    """The answer for a model at a time."""

    model: str
    at: AwareDatetime
    served: ServedVersion | None = Field(description="None: nobody yet")
    capsule: str | None = None
    spec: str | None = Field(None, description="digest of the model spec that the release started with")
    before: str | None = Field(None, description="version of the champion that it took over from")
    gate_verdict: str | None = None
    risk: str | None = None
    risk_reasons: tuple[str, ...] = ()
    approvals: tuple[RecordedApproval, ...] = ()
    checks: tuple[RequiredCheck, ...] = Field((), description="each rule with its last verdict")
    refused: tuple[Refusal, ...] = Field((), description="newest first")
    open_releases: tuple[OpenRelease, ...] = ()


def explain(
    model: str,
    at: datetime,
    served: LedgerRow | None,
    story: Sequence[LedgerRow],
    refused: Sequence[LedgerRow],
    others: Iterable[Sequence[LedgerRow]],
) -> ServingExplanation:
    """Combine ledger entries; all are from `at` or before.

    Args:
        served: the last entry of the kinds SERVING.
        story: the entries of the release that promoted the served version, in order.
        refused: entries of the kinds REFUSED, in order.
        others: the entries of each of the newest releases.
    """
    opening, gating = _last(story, Event.RELEASE_OPENED), _last(story, Event.RELEASE_GATED)
    opened = ReleaseOpened.read(opening) if opening else None
    gate = GateFact.read(gating) if gating else None
    return ServingExplanation(
        model=model,
        at=at,
        served=None if served is None else _served(served),
        capsule=opened.capsule if opened else None,
        spec=opened.spec if opened else None,
        before=opened.champion if opened else None,
        gate_verdict=gate.verdict if gate else None,
        risk=gate.risk if gate else None,
        risk_reasons=gate.risk_reasons if gate else (),
        approvals=tuple(map(_approval, _standing(story))),
        checks=tuple(_required_checks(story, gate)),
        refused=tuple(_refusal(row) for row in reversed(refused)),
        open_releases=tuple(_open_release(rows) for rows in others if rows and not has_ended(rows)),
    )


def has_ended(rows: Sequence[LedgerRow]) -> bool:
    return any(row.entry.kind in FINAL for row in rows)


def _last(rows: Sequence[LedgerRow], event: Event) -> Entry | None:
    return next((row.entry for row in reversed(rows) if row.entry.kind == event), None)


def _served(row: LedgerRow) -> ServedVersion:
    entry, fact = row.entry, VersionFact.read(row.entry)
    version, by = fact.version, "promotion"
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        move = TrafficMove.read(entry)
        note = f": {fact.reason}" if fact.reason else ""
        version, by = move.to, f"rollback from {move.left} by {entry.actor}{note}"
    return ServedVersion(
        version=version or "",
        digest=entry.digest or "",
        since=entry.at,
        by=by,
        release_id=entry.release_id,
        entry=row.seq,
    )


def _approval(row: LedgerRow) -> RecordedApproval:
    entry, fact = row.entry, VersionFact.read(row.entry)
    return RecordedApproval(
        actor=entry.actor,
        at=entry.at,
        channel=fact.channel or "",
        digest=entry.digest or "",
        note=fact.note or "",
        entry=row.seq,
    )


def _standing(story: Sequence[LedgerRow]) -> list[LedgerRow]:
    """Return the approvals that were neither withdrawn nor lapsed."""
    approvals: dict[str, LedgerRow] = {}
    for row in story:
        entry = row.entry
        if entry.kind == Event.RELEASE_APPROVED:
            approvals[account_key(entry.actor)] = row
        elif entry.kind in APPROVAL_ENDED:
            approvals.pop(account_key(ApprovalEnded.read(entry).of or entry.actor), None)
    return list(approvals.values())


def _refusal(row: LedgerRow) -> Refusal:
    """Read a refusal. The digest of a rollback is that of the new champion; the refused version is its `from`."""
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


def _required_checks(story: Sequence[LedgerRow], gate: GateFact | None) -> Iterable[RequiredCheck]:
    if gate is not None:
        yield from (_required_check("gate", rule) for rule in gate.rules)
        asked = _last(story, Event.RELEASE_AWAITING_APPROVAL)
        given = _standing(story)
        yield RequiredCheck(
            where="approval",
            rule="approval",
            needed=f"people's: {VersionFact.read(asked).reason}"
            if asked
            else "the spec's policy, or a person's",
            observed=f"by {', '.join(dict.fromkeys(row.entry.actor for row in given))}" if given else "none",
            verdict="PASS" if any(row.entry.kind == Event.RELEASE_LOADING for row in story) else "UNSURE",
        )
    # An entry of a step has the evidence of the step that it ended.
    where = "release"
    for row in story:
        if row.entry.kind in STEPS:
            fact = VersionFact.read(row.entry)
            yield from (_required_check(where, rule) for rule in fact.evidence)
            where = row.entry.fact + ("" if fact.weight is None else f" {fact.weight:g} %")


def _required_check(where: str, rule: Judgement) -> RequiredCheck:
    return RequiredCheck(
        where=where, rule=rule.rule, needed=rule.needed, observed=rule.observed, verdict=rule.verdict.value
    )


def _open_release(rows: Sequence[LedgerRow]) -> OpenRelease:
    first, last = rows[0].entry, rows[-1].entry
    return OpenRelease(
        release_id=first.release_id or "",
        version=ReleaseOpened.read(first).version,
        since=first.at,
        last=last.fact,
    )
