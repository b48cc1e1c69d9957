"""Envoy's clusters: who may be asked for a model, how their health is seen, what is tried again.

Per model there are three: `<model>.stable`, `<model>.canary` and `<model>.shadow`. The canary cluster has the
servers of the stable pool as second priority: when no canary server is healthy, or one answered with an
error, the request goes on to a stable server, which does not hold the candidate and answers with the version
that the fallback header names, the champion. The shadow cluster has the canary servers only, and what is
mirrored there is never tried again: its answers reach nobody.

The stable cluster has the servers of the canary pool as second priority: that pool holds the champion before
(the backup), so when no stable server is healthy, or two tries ended in errors, the request is answered by the
backup that the route names. Those servers answer for no other version here, so no candidate gets in this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perennial.adapters.envoy.config import TYPE, Address, Json, Layout, address
from perennial.core.release.traffic import PoolName

SERVERS = "perennial.stable"
"""The stable servers, for what belongs to no model."""

LIMITS = {"max_connections": 1024, "max_pending_requests": 4096, "max_requests": 4096}
COPIES_PER_SERVER = 16
"""Mirrored requests that one canary server is given at a time."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def pool_cluster(model: str, pool: str) -> str:
    return f"{model}.{pool}"


def shadow_cluster(model: str) -> str:
    return f"{model}.shadow"


def stat_name(cluster: str) -> str:
    """Envoy's own tag rule takes the name of a cluster up to its first dot, so statistics have none."""
    return cluster.replace(".", "-")


def clusters(models: Sequence[str], layout: Layout) -> list[Json]:
    """Those of every model, and one of the stable servers for what belongs to no model."""
    stable, canary = layout.pools[PoolName.STABLE], layout.pools[PoolName.CANARY]
    found = [_cluster(SERVERS, [stable])]
    for model in sorted(models):
        found += [
            _cluster(pool_cluster(model, PoolName.STABLE), [stable, canary], _champion_retry()),
            _cluster(pool_cluster(model, PoolName.CANARY), [canary, stable], _candidate_retry()),
            _cluster(shadow_cluster(model), [canary], limits=_copies(len(canary))),
        ]
    return found


def _cluster(
    name: str,
    priorities: Sequence[Sequence[Address]],
    retry_policy: Json | None = None,
    limits: Mapping[str, int] = LIMITS,
) -> Json:
    options: Json = {
        "@type": f"{TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        # Shorter than the servers keep an idle connection, so that a request never meets a closing one.
        "common_http_protocol_options": {"idle_timeout": "30s"},
    }
    if retry_policy is not None:
        options["retry_policy"] = retry_policy
    # The default of three retries at a time loses requests when a server dies under load.
    budget = {"budget_percent": {"value": 100.0}, "min_retry_concurrency": 256}
    return {
        "@type": f"{TYPE}config.cluster.v3.Cluster",
        "name": name,
        "alt_stat_name": stat_name(name),
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With no healthy server at all, trying each of them is better than refusing.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1.0}},
        "load_assignment": {
            "cluster_name": name,
            # A priority is left when its last server is gone, not (as by default) in part from the first on:
            # else the loss of one server of two would give its requests to another version.
            "policy": {"overprovisioning_factor": 100 * max(len(group) for group in priorities)},
            "endpoints": [
                {"priority": number, "lb_endpoints": [{"endpoint": {"address": address(one)}} for one in group]}
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
                "http_health_check": {"path": "/livez"},
            }
        ],
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            # Answers are judged by the release machine; taking the server away would hide them from it.
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
    """Few enough that a pool smaller than the stable one is never behind by more than a moment.

    Clients do not wait for copies, so nothing slows those down: thousands would queue, time out, and count as
    errors of a candidate that has none. What is beyond is dropped, and is no evidence.
    """
    most = COPIES_PER_SERVER * servers
    return {"max_connections": most // 2, "max_pending_requests": most // 2, "max_requests": most}


def retry() -> Json:
    """Nothing that a request does is harmful to repeat: a prediction is logged where it is answered."""
    return {
        "retry_on": "gateway-error,connect-failure,refused-stream,reset",
        "num_retries": 5,
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
    """Any error of a candidate is healed by the champion, and still counted where it happened."""
    return _retry_elsewhere(tries=1)


def _champion_retry() -> Json:
    """Another server of the champion first: one error need not be the version's."""
    return _retry_elsewhere(tries=2)


def _retry_elsewhere(tries: int) -> Json:
    """So many tries in one priority, then the next one.

    A cluster's policy stands before that of the route, apart from the time for one try, which is the route's.
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
