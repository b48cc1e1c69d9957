"""Answers to the users of a split by hash bucket of the user: real counts of what was randomised."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.traffic import Counters

HERE = ""
"""Name of the machine of a router that stands beside the releases."""

MOST_BUCKETS = 24
"""Most buckets of a variant's users; each is an entry of every route of the split."""
OF_USERS = 0.5
"""Part of the requests of a version that must be of known users for these to be clusters."""

BucketCounts = Mapping[str, Mapping[str, Counters]]
"""Pool -> bucket -> counters. A bucket has always the same users of the pool's share, as long as the share stays."""


class LogPosition(Frozen):
    """Place in the log of a router: the number of a file, and bytes of it."""

    file: int = Field(0, ge=0)
    offset: int = Field(0, ge=0)


class UserBuckets(Frozen):
    """Answers of a split between two places of the logs of the routers."""

    counts: dict[str, dict[str, Counters]] = Field({}, description="pool -> bucket -> answers since `after`")
    after: dict[str, LogPosition] = Field({}, description="machine -> place from which its log was read")
    read: dict[str, LogPosition] = Field({}, description="machine -> place up to which its log was read")
    problems: tuple[str, ...] = Field((), description="why answers may be missing")


def together(first: BucketCounts, second: BucketCounts) -> dict[str, dict[str, Counters]]:
    """Return the sums by pool and bucket."""
    pools = {pool: dict(buckets) for pool, buckets in first.items()}
    for pool, buckets in second.items():
        known = pools.setdefault(pool, {})
        for bucket, counters in buckets.items():
            known[bucket] = known.get(bucket, Counters()).plus(counters)
    return pools
