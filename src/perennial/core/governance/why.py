"""What served at a time, who allowed it on what evidence, and what was refused: read out of the ledger alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.events import LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.verdict import Judgement

OPENED, GATED, APPROVED = "release.opened", "release.gated", "release.approved"
GONE = ("release.approval_withdrawn", "release.approval_lapsed")
LOADING = "release.loading"
"""After the last approval that was needed."""
ROLLBACK = "release.rollback"
WITHDRAWN = "release.withdrawn"
"""A rollback that took back a candidate's share and left the champion where it was."""
SERVING = ("release.succeeded", ROLLBACK)
"""After such an entry all traffic goes to the digest that it names."""
ENDED = ("release.rejected", "release.rolled_back", "release.superseded")
REFUSED = (*ENDED, ROLLBACK, WITHDRAWN)
FINAL = (*ENDED, SERVING[0])
STEPS = ("release.shadow", "release.canary", "release.promoting", "release.aborting", "release.succeeded")


HOW = {ROLLBACK: "rolled back after its promotion", WITHDRAWN: "its share was taken back by rollback"}


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
    opened, gated = _last(story, OPENED), _last(story, GATED)
    return Why(
        model=model,
        at=at,
        served=None if served is None else _served(served),
        capsule=opened.get("capsule"),
        spec=opened.get("spec"),
        before=opened.get("champion"),
        gate_verdict=gated.get("verdict"),
        risk=gated.get("risk"),
        risk_reasons=tuple(gated.get("risk_reasons", ())),
        approvals=tuple(map(_allowed, _standing(story))),
        hurdles=tuple(_hurdles(story, gated)),
        refused=tuple(_refusal(row) for row in reversed(refused)),
        on_their_way=tuple(_on_its_way(rows) for rows in others if rows and not has_ended(rows)),
    )


def has_ended(rows: Sequence[LedgerRow]) -> bool:
    return any(row.entry.kind in FINAL for row in rows)


def told(row: LedgerRow) -> str:
    """An entry's own words for why it happened; empty where it gives none."""
    said = row.entry.payload
    return str(said.get("why") or said.get("note") or "")


def _last(rows: Sequence[LedgerRow], kind: str) -> dict[str, Any]:
    found = [row.entry.payload for row in rows if row.entry.kind == kind]
    return found[-1] if found else {}


def _served(row: LedgerRow) -> Served:
    one = row.entry
    back = one.kind == ROLLBACK
    note = f": {told(row)}" if told(row) else ""
    by = f"rollback from {one.payload['from']} by {one.actor}{note}" if back else "promotion"
    return Served(
        version=one.payload["to" if back else "version"],
        digest=one.digest or "",
        since=one.at,
        by=by,
        release_id=one.release_id,
        entry=row.seq,
    )


def _allowed(row: LedgerRow) -> Allowed:
    one = row.entry
    said = one.payload
    return Allowed(
        actor=one.actor,
        at=one.at,
        channel=said.get("channel", ""),
        digest=one.digest or "",
        note=said.get("note", ""),
        entry=row.seq,
    )


def _standing(story: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The approvals that were neither taken back nor lapsed."""
    found: dict[str, LedgerRow] = {}
    for row in story:
        one = row.entry
        if one.kind == APPROVED:
            found[one.actor.casefold()] = row
        elif one.kind in GONE:
            found.pop(one.payload.get("of", one.actor).casefold(), None)
    return list(found.values())


def _refusal(row: LedgerRow) -> Refusal:
    """A rollback's digest is the one that took over; the refused version is the one it names as `from`."""
    one = row.entry
    back = one.kind == ROLLBACK
    return Refusal(
        version=one.payload["from" if back else "version"],
        digest=None if back else one.digest,
        at=one.at,
        how=HOW.get(one.kind, one.kind.removeprefix("release.")),
        actor=one.actor,
        why=told(row),
        entry=row.seq,
    )


def _hurdles(story: Sequence[LedgerRow], gated: dict[str, Any]) -> Iterable[Hurdle]:
    for rule in gated.get("rules", ()):
        yield _hurdle("gate", rule)
    if gated:
        asked = [row for row in story if row.entry.kind == "release.awaiting_approval"]
        given = _standing(story)
        yield Hurdle(
            where="approval",
            rule="approval",
            needed=f"people's: {told(asked[-1])}" if asked else "the spec's policy, or a person's",
            observed=f"by {', '.join(dict.fromkeys(row.entry.actor for row in given))}" if given else "none",
            verdict="PASS" if any(row.entry.kind == LOADING for row in story) else "UNSURE",
        )
    # An entry of a step carries the evidence of the one that it ended.
    where = "release"
    for row in story:
        if row.entry.kind in STEPS:
            yield from (_hurdle(where, rule) for rule in row.entry.payload.get("evidence", ()))
            weight = row.entry.payload.get("weight")
            where = row.entry.kind.removeprefix("release.") + ("" if weight is None else f" {weight:g} %")


def _hurdle(where: str, rule: dict[str, Any]) -> Hurdle:
    one = Judgement.model_validate(rule)
    return Hurdle(
        where=where, rule=one.rule, needed=one.needed, observed=one.observed, verdict=one.verdict.value
    )


def _on_its_way(rows: Sequence[LedgerRow]) -> OnItsWay:
    first, last = rows[0].entry, rows[-1].entry
    return OnItsWay(
        release_id=first.release_id or "",
        version=first.payload["version"],
        since=first.at,
        last=last.kind.removeprefix("release."),
    )
