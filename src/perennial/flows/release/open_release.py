"""Open a release: create its status, or return the existing one."""

from __future__ import annotations

from datetime import datetime, timedelta

from perennial.core.events import Entry, Event
from perennial.core.monitoring.label_delay import LabelDelay
from perennial.core.release.approval import people
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus, policy_digest, release_id
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import REQUESTED_BY, VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import ReleaseError
from perennial.flows.release.ports import ReleasePorts


def open_release(
    spec: ModelSpec,
    record: VersionRecord,
    champion: VersionRef | None,
    ports: ReleasePorts,
    now: datetime,
    actor: str,
    again: bool = False,
) -> ReleaseStatus:
    """Return the release of this candidate under the spec's policy; an existing one is returned as it is.

    Args:
        champion: version with the traffic now.
        again: start over a release that has ended.

    Raises:
        ReleaseError: the candidate has all traffic already.
    """
    attempt = 0
    digest = policy_digest(spec.gate, spec.approval, spec.release)
    while True:
        name = release_id(record.ref.digest, spec.gate, spec.approval, spec.release, attempt)
        existing = ports.releases.load(name)
        if existing is None:
            break
        if not (again and existing.phase.is_final()):
            return existing
        attempt += 1
    live = ports.router.route(spec.name)
    if champion is not None and champion.digest == record.ref.digest:
        raise ReleaseError(
            f"{record.ref} is the champion already", hint="perennial release status " + spec.name
        )
    asked_by = people((actor, record.tags.get(REQUESTED_BY, "")))
    status = ReleaseStatus(
        release_id=name,
        candidate=record.ref,
        champion=champion,
        champion_release_id=live.stable.release_id if live is not None else None,
        policy=spec.release,
        approval_policy=spec.approval,
        policy_digest=digest,
        spec_digest=digest,
        asked_by=asked_by,
        started_at=now,
        phase=Phase.PENDING,
        entered_at=now,
        label_delay=_named_delay(spec),
        note="the gate measures it",
    )
    entry = Entry(
        at=now,
        actor=actor,
        kind=Event.RELEASE_OPENED,
        model=spec.name,
        release_id=name,
        digest=record.ref.digest,
        payload={
            "version": record.ref.version,
            "capsule": record.ref.capsule,
            "champion": champion.version if champion else None,
            "spec": spec.digest,
            "asked_by": list(asked_by),
        },
    )
    return ports.releases.save(status, None, [entry])


def _named_delay(spec: ModelSpec) -> LabelDelay | None:
    """Return the delay of labels that the spec names; None where it is learnt from the traffic."""
    longest = spec.monitoring.label_delay
    return None if longest is None else LabelDelay(hours=longest / timedelta(hours=1))
