"""Envoy's clusters: the servers of a model, their health checks and the retries.

Per model there are three: `<model>.stable`, `<model>.canary` and `<model>.shadow`. The canary cluster has the
servers of the stable pool as second priority: when no canary server is healthy, or one answered with an error, a
stable server answers. It does not hold the candidate and answers with the champion, named in the fallback header.
The shadow cluster has only the canary servers, without retries, because the answers to mirrored requests are
dropped.

For gRPC there are the same three with the suffix `_grpc`, since servers listen for it on ports of their own.

The stable cluster has the servers of the canary pool as second priority. That pool holds the previous champion (the
backup): when no stable server is healthy, or two tries ended in errors, the backup named in the route answers. For
the stable share these servers answer with no other version, so a candidate cannot get requests this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from perennial.adapters.envoy import grpc, secrets
from perennial.adapters.envoy.config import TYPE, Address, InternalTls, Json, Layout, address
from perennial.core.release.traffic import PoolName

SERVERS = "perennial.stable"
"""Cluster of the stable servers for paths without a model, and for versions by name."""
ABOUT = "perennial.about"
"""Cluster for questions about a champion: where no stable server has it, those of the canary pool answer."""

LIMITS = {"max_connections": 1024, "max_pending_requests": 4096, "max_requests": 4096}
COPIES_PER_SERVER = 16
"""Mirrored requests in flight per canary server."""

TRIES = 6
"""Attempts of a request that fails everywhere."""
CANDIDATE_TRIES, CHAMPION_TRIES = 1, 2
"""Attempts in the pool of a share before the other pool is tried."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class Protocol(StrEnum):
    """A protocol of predictions; the value is the suffix of its clusters."""

    REST = ""
    GRPC = "_grpc"


def pool_cluster(model: str, pool: str, protocol: Protocol = Protocol.REST) -> str:
    return f"{model}.{pool}{protocol}"


def shadow_cluster(model: str, protocol: Protocol = Protocol.REST) -> str:
    return f"{model}.shadow{protocol}"


def stat_name(cluster: str) -> str:
    """Return the cluster's name for statistics: without dots, because Envoy cuts the name at the first dot."""
    return cluster.replace(".", "-")


def clusters(models: Sequence[str], layout: Layout, folder: Path) -> list[Json]:
    """Return the clusters of every model, and those of what is no prediction.

    Args:
        folder: of Envoy's files.
    """
    resources = []
    for protocol, pools in ((Protocol.REST, layout.pools), (Protocol.GRPC, layout.grpc)):
        stable, canary = pools[PoolName.STABLE], pools[PoolName.CANARY]
        resources += [
            _cluster(f"{SERVERS}{protocol}", [stable], protocol),
            _cluster(f"{ABOUT}{protocol}", [stable, canary], protocol, _champion_retry()),
        ]
        for model in sorted(models):
            of_pool = {pool: pool_cluster(model, pool, protocol) for pool in PoolName}
            resources += [
                _cluster(of_pool[PoolName.STABLE], [stable, canary], protocol, _champion_retry()),
                _cluster(of_pool[PoolName.CANARY], [canary, stable], protocol, _candidate_retry()),
                _cluster(shadow_cluster(model, protocol), [canary], protocol, limits=_copies(len(canary))),
            ]
    return (
        resources if layout.inside is None else [_secured(each, layout.inside, folder) for each in resources]
    )


def _secured(cluster: Json, inside: InternalTls, folder: Path) -> Json:
    """Return the cluster with TLS to its servers."""
    options = cluster["typed_extension_protocol_options"][_HTTP_OPTIONS]
    protocols = ["h2"] if "http2_protocol_options" in options["explicit_http_config"] else ["http/1.1"]
    common = options["common_http_protocol_options"]
    common["max_connection_duration"] = secrets.CONNECTION_LIFE
    return {**cluster, "transport_socket": secrets.upstream(inside, folder, protocols)}


def _cluster(
    name: str,
    priorities: Sequence[Sequence[Address]],
    protocol: Protocol,
    retry_policy: Json | None = None,
    limits: Mapping[str, int] = LIMITS,
) -> Json:
    options: Json = {
        "@type": f"{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        # Shorter than the servers' idle timeout, so that no request is sent on a closing connection.
        "common_http_protocol_options": {"idle_timeout": "30s"},
    }
    health: Json = {"http_health_check": {"path": "/livez"}}
    if protocol is Protocol.GRPC:
        options["explicit_http_config"] = {"http2_protocol_options": {}}
        options["http_filters"] = grpc.upstream_filters()
        health = {"grpc_health_check": {}}
    if retry_policy is not None:
        options["retry_policy"] = retry_policy
    # The default of three concurrent retries loses requests when a server dies under load.
    budget = {"budget_percent": {"value": 100.0}, "min_retry_concurrency": 256}
    return {
        "@type": f"{TYPE}config.cluster.v3.Cluster",
        "name": name,
        "alt_stat_name": stat_name(name),
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {
            # Without any healthy server, trying each server is better than refusing.
            "healthy_panic_threshold": {"value": 1.0},
            # By default a second change of health within a second reaches the workers up to a second later: requests
            # then go to another version although the champion's servers are back.
            "update_merge_window": "0s",
        },
        "load_assignment": {
            "cluster_name": name,
            # Leave a priority only when its last server is gone. By default the loss of one of two servers would
            # already send a part of the requests to the next priority, that is, to another version.
            "policy": {"overprovisioning_factor": 100 * max(len(group) for group in priorities)},
            "endpoints": [
                {"priority": number, "lb_endpoints": [{"endpoint": {"address": address(server)}} for server in group]}
                for number, group in enumerate(priorities)
            ],
        },
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                **health,
            }
        ],
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            # The release machine judges the answers; ejecting the server would hide its errors.
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_time": "10s",
            "max_ejection_percent": 100,
        },
        "circuit_breakers": {"thresholds": [{**limits, "retry_budget": budget}]},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
    }  # fmt: skip


def _copies(servers: int) -> dict[str, int]:
    """Return limits that keep the queue of mirrored requests short.

    Clients do not wait for mirrored requests, so nothing slows them down: in a small canary pool thousands would
    queue, time out and count as errors of the candidate. Requests above the limit are dropped and not counted.
    """
    most = COPIES_PER_SERVER * servers
    return {"max_connections": most // 2, "max_pending_requests": most // 2, "max_requests": most}


def retry() -> Json:
    """Return the retry policy. A request may be repeated: a prediction is logged only where it is answered."""
    return {
        "retry_on": "gateway-error,connect-failure,refused-stream,reset",
        "num_retries": TRIES - 1,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            _extension(
                "envoy.retry_host_predicates.previous_hosts",
                "retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": "5",
    }


def _candidate_retry() -> Json:
    """Retry an error of the candidate on the champion at once; the error still counts for the candidate."""
    return _retry_elsewhere(tries=CANDIDATE_TRIES)


def _champion_retry() -> Json:
    """Retry on another server of the champion first: an error may be the server's."""
    return _retry_elsewhere(tries=CHAMPION_TRIES)


def _retry_elsewhere(tries: int) -> Json:
    """Return a policy with a number of tries per priority before the next priority.

    The policy of a cluster overrides the policy of the route, except for the per-try timeout.
    """
    previous = _extension(
        "envoy.retry_priorities.previous_priorities",
        "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    )
    previous["typed_config"]["update_frequency"] = tries
    policy = retry()
    return {**policy, "retry_on": f"5xx,{policy['retry_on']}", "retry_priority": previous}


def _extension(name: str, kind: str) -> Json:
    return {"name": name, "typed_config": {"@type": f"{TYPE}extensions.{kind}"}}
