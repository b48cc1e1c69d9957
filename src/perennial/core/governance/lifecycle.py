"""Rules for retiring and archiving versions and for deleting their files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from perennial.core.release.status import ReleaseStatus
from perennial.core.training.registration import VersionRecord
from perennial.core.version import Lifecycle

CHAMPION_ONLY = frozenset({"champion"})
KEPT_ALIASES = frozenset({"champion", "previous"})
"""Aliases of the serving version and of the rollback target."""
PURGED = "files"
"""Tag of a version whose files were deleted; its value is the time."""


def in_use(
    record: VersionRecord, serving_digest: str | None, releases: Iterable[ReleaseStatus], kept: frozenset[str]
) -> str | None:
    """Return why a version cannot be taken out of use; None when it can.

    Args:
        serving_digest: serving version by the ledger, which is right even if an alias lags behind.
        kept: aliases that keep a version in use.
    """
    held = sorted(kept.intersection(record.aliases))
    if held:
        return f"{record.ref.version} is the {held[0]}"
    if record.ref.digest == serving_digest:
        return f"{record.ref.version} has the traffic"
    for release in releases:
        named = {release.candidate.digest, release.champion.digest if release.champion else None}
        if not release.phase.is_final() and record.ref.digest in named:
            where = f"{release.release_id} ({release.phase.value})"
            return f"{record.ref.version} is in the running release {where}"
    return None


def is_due(record: VersionRecord, last_fact: datetime, now: datetime, keep: timedelta) -> bool:
    """Return whether the files may be deleted: the version is archived and has no newer entry for `keep`.

    Args:
        last_fact: time of the newest ledger entry about the version, or of its registration.
    """
    archived = record.tags.get("lifecycle") == Lifecycle.ARCHIVED
    return archived and PURGED not in record.tags and now - last_fact >= keep
