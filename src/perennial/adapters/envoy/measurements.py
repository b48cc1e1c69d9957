"""Counters, latencies and health of the pools of a model, read from Envoy's statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from perennial.adapters.envoy.admin import Buckets, Endpoint, EnvoyAdmin
from perennial.adapters.envoy.clusters import (
    CANDIDATE_TRIES,
    CHAMPION_TRIES,
    TRIES,
    Protocol,
    pool_cluster,
    shadow_cluster,
    stat_name,
)
from perennial.adapters.envoy.config import Layout
from perennial.core.release.traffic import BACKUP, Counters, PoolName, Route

FAILURES = (
    "upstream_rq_5xx", "upstream_rq_retry", "upstream_rq_rx_reset", "upstream_rq_timeout",
    "upstream_rq_per_try_timeout", "upstream_cx_destroy_remote_with_active_rq", "upstream_cx_protocol_error",
)  # fmt: skip
"""Statistics of a cluster that hold every failed attempt: the last of a request, the repeated ones, broken answers.
Some hold the same attempt, so that their sum is a bound."""

EXPORTED = (
    r"^(cluster\.[^.]+\.(upstream_rq_[1-5]xx|upstream_rq_time|upstream_rq_pending_overflow|membership_healthy)"
    r"|http\.ingress\.downstream_(rq_[1-5]xx|cx_active))$"
)
"""Statistics for Prometheus: those that a rule or a dashboard reads, and no other of Envoy's thousands."""


class EnvoyMeasurements:
    """Reads the statistics of one Envoy."""

    def __init__(self, admin: EnvoyAdmin, layout: Layout) -> None:
        self._admin = admin
        self._layout = layout

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Return counters since Envoy's start by the pool that answered.

        Requests and errors are attempts: an error of the candidate that a retry on the champion healed is an error
        of the canary pool and an answer of the stable pool. Mirrored requests count for the canary pool. Answers
        of canary servers to the stable share count for the backup, never for the champion or a candidate.
        Envoy counts 4xx by share, not by server: they are those of the pool that is tried first, as 4xx are not
        tried again. Attempts of a request that failed on both sides are excused on both: its content, or something
        that both sides share, is at fault.
        Latencies are those of whole requests with retries, by the share (not the server) of the request.
        Calls by gRPC count as requests by REST do.
        """
        rest, grpc = (self._of_protocol(model, protocol) for protocol in Protocol)
        return {pool: counted.plus(grpc[pool]) for pool, counted in rest.items()}

    def _of_protocol(self, model: str, protocol: Protocol) -> dict[str, Counters]:
        codes = self._admin.numbers(rf"^cluster\.({_pattern(model, protocol)})\.upstream_rq_[45]xx$")
        of_stable, of_canary, of_shadow = self._counted(model, protocol)
        names = [stat_name(name) for name in _cluster_names(model, protocol)]
        latencies = self._admin.latencies(
            rf"^cluster\.({'|'.join(map(re.escape, names))})\.upstream_rq_time$"
        )
        stable, canary, shadow = (latencies.get(f"cluster.{name}.upstream_rq_time", ()) for name in names)
        by_champion = self._of_pool(PoolName.STABLE, [of_stable, of_canary])
        by_candidate = self._of_pool(PoolName.CANARY, [of_canary, of_shadow])
        by_backup = self._of_pool(PoolName.CANARY, [of_stable])
        refused = [int(codes.get(f"cluster.{name}.upstream_rq_4xx", 0)) for name in names]
        failed = [int(codes.get(f"cluster.{name}.upstream_rq_5xx", 0)) for name in names]
        stable_first = _answers(self._of_pool(PoolName.STABLE, [of_stable]))
        canary_first = _answers(self._of_pool(PoolName.CANARY, [of_canary]))
        of_first, of_second = min(refused[0], stable_first), min(refused[1], canary_first)
        excused = (
            _excused(
                failed[0], self._of_pool(PoolName.STABLE, [of_stable]), by_backup, CHAMPION_TRIES, TRIES
            ),
            _excused(
                failed[1],
                self._of_pool(PoolName.CANARY, [of_canary]),
                self._of_pool(PoolName.STABLE, [of_canary]),
                CANDIDATE_TRIES,
                TRIES,
            ),
        )
        return {
            PoolName.STABLE.value: _counters(
                by_champion,
                (stable,),
                of_first + refused[1] - of_second,
                excused[0][0] + excused[1][1],
                failed[0],
            ),
            PoolName.CANARY.value: _counters(
                by_candidate, (canary, shadow), of_second + refused[2], excused[1][0], failed[1]
            ),
            BACKUP: _counters(by_backup, (), refused[0] - of_first, excused[0][1]),
        }

    def healthy(self, model: str) -> Mapping[str, int]:
        """Return the number of healthy servers by pool: those that answer by REST and by gRPC."""
        clusters = [self._clusters(model, protocol) for protocol in Protocol]
        return {
            pool.value: min(
                sum(server.healthy for server in self._of_pool(pool, [servers[number]]))
                for servers in clusters
            )
            for number, pool in enumerate((PoolName.STABLE, PoolName.CANARY))
        }

    def backups(self, models: Iterable[str]) -> Mapping[str, int]:
        """Return model -> attempts that canary servers accepted for the stable share, from one answer of Envoy."""
        held = self._admin.clusters()
        return {
            model: sum(
                server.answered
                for protocol in Protocol
                for server in self._of_pool(
                    PoolName.CANARY, [held.get(pool_cluster(model, PoolName.STABLE, protocol), ())]
                )
            )
            for model in models
        }

    def overview(self, route: Route) -> list[dict[str, Any]]:
        """Return a row per pool with a target: the configured share and the counters."""
        counters, healthy = self.counters(route.model), self.healthy(route.model)
        targets = (
            (PoolName.STABLE, route.stable, 100.0 - route.canary_weight),
            (PoolName.CANARY, route.canary, route.canary_weight),
        )
        rows = []
        for pool, target, share in targets:
            if target is None:
                continue
            counted = counters[pool]
            p95 = counted.evidence().latency_ms(0.95)
            rows.append(
                {
                    "model": route.model,
                    "pool": pool.value,
                    "version": target.version,
                    "digest": target.digest,
                    "release": target.release_id,
                    "share %": share,
                    "mirror": route.mirror and pool is PoolName.CANARY,
                    "healthy": healthy[pool],
                    "requests": counted.requests,
                    "errors": counted.errors,
                    "refused": counted.refused,
                    "p95 ms": None if p95 is None else round(p95, 2),
                }
            )
        return rows

    def _clusters(self, model: str, protocol: Protocol) -> list[Sequence[Endpoint]]:
        """Return the servers of each cluster of the model; empty for a model without a route."""
        clusters = self._admin.clusters()
        return [clusters.get(name, ()) for name in _cluster_names(model, protocol)]

    def _counted(self, model: str, protocol: Protocol) -> list[list[Endpoint]]:
        """Return the servers by cluster; errors of a server count only as far as its cluster has failed attempts.

        Envoy adds an error to a server for answers that it sends on as 200 (gRPC without a status). The failures
        are read after the errors, so that they hold every error that was read.
        """
        clusters = self._clusters(model, protocol)
        counts = self._admin.numbers(rf"^cluster\.({_pattern(model, protocol)})\.({'|'.join(FAILURES)})$")
        counted = []
        for name, servers in zip(_cluster_names(model, protocol), clusters, strict=True):
            failures = sum(int(counts.get(f"cluster.{stat_name(name)}.{kind}", 0)) for kind in FAILURES)
            counted.append([replace(server, errors=min(server.errors, failures)) for server in servers])
        return counted

    def _of_pool(self, pool: PoolName, clusters: Iterable[Sequence[Endpoint]]) -> list[Endpoint]:
        addresses = {*self._layout.pools[pool], *self._layout.grpc[pool]}
        return [
            server for cluster in clusters for server in cluster if (server.host, server.port) in addresses
        ]


def _cluster_names(model: str, protocol: Protocol) -> tuple[str, str, str]:
    stable, canary = (pool_cluster(model, pool, protocol) for pool in (PoolName.STABLE, PoolName.CANARY))
    return stable, canary, shadow_cluster(model, protocol)


def _pattern(model: str, protocol: Protocol) -> str:
    return "|".join(re.escape(stat_name(name)) for name in _cluster_names(model, protocol))


def _answers(servers: Sequence[Endpoint]) -> int:
    return sum(server.answered - server.errors for server in servers)


def _excused(
    failed: int, first: Sequence[Endpoint], second: Sequence[Endpoint], in_a_row: int, tries: int
) -> tuple[int, int]:
    """Return the failed attempts of the first and of the second pool for requests that failed everywhere.

    Args:
        failed: requests that ended in a 5xx, after every retry.
        in_a_row: attempts per pool before the other pool is tried.
        tries: attempts of such a request.
    """
    by_first = sum(1 for attempt in range(tries) if attempt // in_a_row % 2 == 0)
    by_second = tries - by_first
    errors = [sum(server.errors for server in servers) for servers in (first, second)]
    # A refused connection is no counted attempt: only as many as both pools have failed attempts for.
    both = min(failed, math.ceil(errors[0] / by_first), math.ceil(errors[1] / by_second))
    return min(errors[0], both * by_first), min(errors[1], both * by_second)


def _counters(
    servers: Sequence[Endpoint], histograms: Sequence[Buckets], refused: int, excused: int, lost: int = 0
) -> Counters:
    """Add up the servers and histograms; all histograms of an Envoy have the same bounds."""
    counts: dict[float, int] = {}
    for histogram in histograms:
        for bound, count in histogram:
            counts[bound] = counts.get(bound, 0) + count
    return Counters(
        requests=sum(server.answered for server in servers),
        errors=sum(server.errors for server in servers),
        refused=refused,
        excused=excused,
        lost=lost,
        buckets=tuple(sorted(counts.items())),
    )
