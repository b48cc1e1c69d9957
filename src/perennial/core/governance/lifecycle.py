"""When a version may be retired, archived, or lose its files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from perennial.core.release.status import ReleaseStatus
from perennial.core.training.registration import VersionRecord
from perennial.core.version import Lifecycle

CHAMPION_ONLY = frozenset({"champion"})
KEPT_ALIASES = frozenset({"champion", "previous"})
"""The one that has the traffic, and the one that a rollback goes to."""
PURGED = "files"
"""Tag of a version whose files were deleted; its value says when."""


def in_use(
    record: VersionRecord, serving_digest: str | None, releases: Iterable[ReleaseStatus], kept: frozenset[str]
) -> str | None:
    """Why a version cannot be taken out of use; None when it can.

    Args:
        serving_digest: who has the traffic by the ledger, which knows it also where an alias lags.
        kept: aliases that hold a version in use.
    """
    held = sorted(kept.intersection(record.aliases))
    if held:
        return f"{record.ref.version} is the {held[0]}"
    if record.ref.digest == serving_digest:
        return f"{record.ref.version} has the traffic"
    for one in releases:
        named = {one.candidate.digest, one.champion.digest if one.champion else None}
        if not one.phase.is_final() and record.ref.digest in named:
            return f"{record.ref.version} is in the running release {one.release_id} ({one.phase.value})"
    return None


def is_due(record: VersionRecord, last_fact: datetime, now: datetime, keep: timedelta) -> bool:
    """Whether the files of a version may go: it is archived, and nothing happened to it for so long.

    Args:
        last_fact: the newest entry of the ledger about it; its registration when there is none.
    """
    archived = record.tags.get("lifecycle") == Lifecycle.ARCHIVED
    return archived and PURGED not in record.tags and now - last_fact >= keep
