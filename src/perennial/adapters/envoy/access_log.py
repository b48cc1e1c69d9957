"""Envoy's access log of the requests of a split: a short JSON line each, with the bucket of the user, not the user.

Envoy writes one line when a request has ended, with the number of its attempts and the server of the last one. The
pools take turns in a fixed order (`clusters.retry`), so that both tell which attempts were those of the share's own
pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial.adapters.envoy.clusters import CANDIDATE_TRIES, CHAMPION_TRIES
from perennial.adapters.envoy.config import BUCKETS_MS, TYPE, Json, Layout
from perennial.core.release.traffic import Counters, PoolName
from perennial.serving import headers
from perennial.serving.protocol.grpc.status import STATUSES

USERS, LOG = "users", "requests.log"
"""Folder below Envoy's, and file, of the log that Envoy is writing."""
FLUSH = ("--file-flush-interval-msec", "1000")
"""Options of Envoy: by default a line may wait for ten seconds."""

FIELDS = {
    "split": "%ROUTE_NAME%",
    "bucket": f"%REQ({headers.BUCKET})%",
    "code": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "flags": "%RESPONSE_FLAGS%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "server": "%UPSTREAM_HOST%",
    "us": "%COMMON_DURATION(DS_RX_END:US_RX_END:us)%",
}
"""Key of a line -> Envoy's operator. `server` is that of the last attempt; `us` is from the end of the request to
the end of the answer, as in the router's own latencies."""

BROKEN = frozenset({"UC", "UF", "UPE", "UR", "UT"})
"""Flags of an answer that broke off after its status: connection, protocol, reset, time."""
IN_A_ROW = {PoolName.CANARY.value: CANDIDATE_TRIES, PoolName.STABLE.value: CHAMPION_TRIES}
BOUNDS = (*(bound + 0.5 for bound in BUCKETS_MS), float("inf"))
"""Bounds of latencies in ms: those of the router's own (`EnvoyAdmin.latencies`)."""
_COUNTED = {status.code: status.counted for status in STATUSES}


def access_log(path: Path) -> Json:
    """Return the log of the requests that have a bucket; where no release splits users, nothing is written."""
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"header_filter": {"header": {"name": headers.BUCKET, "present_match": True}}},
        "typed_config": {
            "@type": f"{TYPE}extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": dict(FIELDS)},
        },
    }


@dataclass
class _Bucket:
    """Counts of a bucket while lines are read."""

    requests: int = 0
    errors: int = 0
    latencies: dict[float, int] = field(default_factory=dict)

    def counters(self) -> Counters:
        """Return the counts; of the latencies only bounds at which they change, and the bound before each."""
        kept = sorted({*self.latencies, *(_below(bound) for bound in self.latencies)} - {0.0})
        cumulative = [
            (bound, sum(count for known, count in self.latencies.items() if known <= bound)) for bound in kept
        ]
        return Counters(requests=self.requests, errors=self.errors, buckets=tuple(cumulative))


class BucketCounter:
    """Counts the lines of a split by pool and bucket.

    What is counted is what speaks for or against a version, as `Counters.evidence`: a request with a fault of its own
    (4xx, or failed in both pools) is left out. Errors are failed attempts in the pool of the user's share, also those
    that the other pool healed; what the other pool answered is no request of the bucket.

    Attributes:
        broken: lines that cannot be read.
    """

    def __init__(self, split: str, layout: Layout) -> None:
        self._split = split
        self._pools = {
            f"{host}:{port}": pool
            for addresses in (layout.pools, layout.grpc)
            for pool, servers in addresses.items()
            for host, port in servers
        }
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self.broken = 0

    def add(self, lines: Iterable[bytes]) -> None:
        """Count lines; those of other splits are skipped."""
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["split"] == self._split:
                    self._add(entry)
            except (ValueError, KeyError, TypeError):
                self.broken += 1

    def counts(self) -> dict[str, dict[str, Counters]]:
        """Return pool -> bucket -> counters."""
        counts: dict[str, dict[str, Counters]] = {}
        for (pool, bucket), counted in self._buckets.items():
            counts.setdefault(pool, {})[bucket] = counted.counters()
        return counts

    def _add(self, entry: Mapping[str, Any]) -> None:
        pool, _, bucket = entry["bucket"].partition(".")
        requests, errors, answered = _attempts(
            pool, self._pools.get(entry["server"] or ""), int(entry["tries"] or 0), _status(entry)
        )
        if not requests:
            return
        counted = self._buckets.setdefault((pool, str(int(bucket))), _Bucket())
        counted.requests += requests
        counted.errors += errors
        if answered and entry["us"] is not None:
            bound = next(bound for bound in BOUNDS if entry["us"] < 1000 * bound)
            counted.latencies[bound] = counted.latencies.get(bound, 0) + 1


def _below(bound: float) -> float:
    """Return the next lower bound; 0 below the first."""
    place = BOUNDS.index(bound)
    return BOUNDS[place - 1] if place else 0.0


def _status(entry: Mapping[str, Any]) -> int | None:
    """Return the HTTP status, that of a gRPC status as the router counts it; None: the client left before it came."""
    if BROKEN & set(str(entry["flags"]).split(",")):
        return 503
    if entry["grpc"] is not None and entry["code"] == 200:
        return _COUNTED.get(int(entry["grpc"]), 200)
    return int(entry["code"] or 0) or None


def _attempts(own: str, last: str | None, tries: int, status: int | None) -> tuple[int, int, bool]:
    """Return the attempts in the share's own pool, those of them that failed, and whether it took part in an answer.

    Args:
        own: pool of the share.
        last: pool of the last attempt; None: not known.
        tries: attempts.
        status: of the last attempt.
    """
    if last is None or not tries or own not in IN_A_ROW:
        return 0, 0, False
    in_turn = [attempt // IN_A_ROW[own] % 2 == 0 for attempt in range(tries)]
    if in_turn[-1] is not (last == own):
        # Out of turn: one pool has no healthy server, and all attempts are those of the other.
        in_turn = [last == own] * tries
    mine = sum(in_turn)
    if status is None:  # the last attempt has no end; those before it have failed
        failed = mine - in_turn[-1]
        return failed, failed, False
    if status >= 500:
        in_both = 0 < mine < tries
        return (0, 0, False) if in_both else (mine, mine, False)
    failed = mine - in_turn[-1]
    if status >= 400:
        return failed, failed, False
    return mine, failed, mine > 0
