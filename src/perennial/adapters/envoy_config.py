"""Routes -> Envoy's resources, as plain dictionaries in Envoy's JSON form. No IO.

Per model there are three clusters: `<model>.stable`, `<model>.canary` and `<model>.shadow`. The canary
cluster lists the servers of the stable pool as second priority: when no canary server is healthy, or one
answered with an error, the request goes on to a stable server, which does not hold the candidate and
answers with the version that the fallback header names, the champion. The shadow cluster has the canary
servers only and no retries: its answers reach nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perennial.core.traffic import PoolName, Route, Target
from perennial.serving import headers

Json = dict[str, Any]
Address = tuple[str, int]

LISTENER, ROUTES, SERVERS = "perennial", "perennial", "perennial.stable"
TOTAL_WEIGHT = 10_000
"""Shares are set in steps of 0.01 percent; the total never changes, so that a share means the same."""

# Upper bounds in ms of the latency histograms: fine enough for a p95 between 1 and 1000 ms.
BUCKETS_MS = (
    0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100,
    120, 140, 160, 180, 200, 250, 300, 350, 400, 500, 600, 700, 800, 900, 1000, 1500, 2000, 5000, 10000, 30000,
)  # fmt: skip

_TYPE = "type.googleapis.com/envoy."
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_OURS = (headers.DIGEST, headers.RELEASE, headers.FALLBACK, headers.FALLBACK_RELEASE, headers.SHADOW,
         headers.SYNTHETIC)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where Envoy listens, and the servers of each pool."""

    listen: Address
    admin: Address
    pools: Mapping[str, Sequence[Address]]


def shadow_cluster(model: str) -> str:
    return f"{model}.shadow"


def pool_cluster(model: str, pool: str) -> str:
    return f"{model}.{pool}"


def stat_name(cluster: str) -> str:
    """Envoy's own tag rule takes the name of a cluster up to its first dot, so statistics have none."""
    return cluster.replace(".", "-")


def bootstrap(layout: Layout, folder: Path) -> Json:
    """What Envoy is started with; everything that changes comes from the folders it watches."""
    return {
        "node": {"id": "perennial", "cluster": "perennial"},
        "admin": {"address": _address(layout.admin)},
        "dynamic_resources": {
            "lds_config": watched(folder / "lds" / "listeners.json"),
            "cds_config": watched(folder / "cds" / "clusters.json"),
        },
        "stats_flush_interval": "1s",
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(BUCKETS_MS)},
            ]
        },
    }


def watched(path: Path) -> Json:
    """A folder per kind of resource: a rename in it makes Envoy read the file again."""
    return {
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
        "resource_api_version": "V3",
    }


def discovery(version: str, resources: Sequence[Json]) -> bytes:
    """The content of a watched file."""
    body = {"version_info": version, "resources": list(resources)}
    return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"


def listeners(layout: Layout, folder: Path) -> list[Json]:
    connection_manager = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "generate_request_id": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "normalize_path": True,
        "merge_slashes": True,
        "server_header_transformation": "PASS_THROUGH",
        "rds": {"route_config_name": ROUTES, "config_source": watched(folder / "rds" / "routes.json")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager,
    }
    return [
        {
            "@type": f"{_TYPE}config.listener.v3.Listener",
            "name": LISTENER,
            "address": _address(layout.listen),
            "filter_chains": [{"filters": [manager]}],
        }
    ]


def clusters(models: Sequence[str], layout: Layout) -> list[Json]:
    """Those of every model, and one of the stable servers for what belongs to no model."""
    stable, canary = layout.pools[PoolName.STABLE], layout.pools[PoolName.CANARY]
    found = [_cluster(SERVERS, [stable], _retry("previous_hosts"))]
    for model in sorted(models):
        found += [
            _cluster(pool_cluster(model, PoolName.STABLE), [stable], _retry("previous_hosts")),
            _cluster(pool_cluster(model, PoolName.CANARY), [canary, stable], _canary_retry()),
            _cluster(shadow_cluster(model), [canary], None),
        ]
    return found


def _cluster(name: str, priorities: Sequence[Sequence[Address]], retry: Json | None) -> Json:
    options: Json = {
        "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        # Shorter than the servers keep an idle connection, so that a request never meets a closing one.
        "common_http_protocol_options": {"idle_timeout": "30s"},
    }
    if retry is not None:
        options["retry_policy"] = retry
    limits = {"max_connections": 1024, "max_pending_requests": 4096, "max_requests": 4096}
    if retry is not None:
        # The default of three retries at a time loses requests when a server dies under load.
        limits |= {"retry_budget": {"budget_percent": {"value": 100.0}, "min_retry_concurrency": 256}}  # type: ignore[dict-item]
    return {
        "@type": f"{_TYPE}config.cluster.v3.Cluster",
        "name": name,
        "alt_stat_name": stat_name(name),
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        # With no healthy server at all, trying each of them is better than refusing.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1.0}},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {"priority": number, "lb_endpoints": [{"endpoint": {"address": _address(one)}} for one in group]}
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
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
    }  # fmt: skip


def _retry(*predicates: str) -> Json:
    """Nothing that a request does is harmful to repeat: a prediction is logged where it is answered."""
    kind = "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    return {
        "retry_on": "gateway-error,connect-failure,refused-stream,reset",
        "num_retries": 5,
        "per_try_timeout": "5s",
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {"name": f"envoy.retry_host_predicates.{name}", "typed_config": {"@type": f"{_TYPE}{kind}"}}
            for name in predicates
        ],
        "host_selection_retry_max_attempts": "5",
    }


def _canary_retry() -> Json:
    """Any error of a candidate is healed by the champion, and still counted where it happened."""
    kind = "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
    return {
        **_retry("previous_hosts"),
        "retry_on": "5xx,gateway-error,connect-failure,refused-stream,reset",
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {"@type": f"{_TYPE}{kind}", "update_frequency": 1},
        },
    }


def route_configuration(routes: Sequence[Route]) -> Json:
    """One virtual host with the routes of every model; what belongs to no model goes to any stable server."""
    found: list[Json] = []
    for route in sorted(routes, key=lambda one: one.model):
        found += _model_routes(route)
    found += [
        {"match": {"path": path}, "route": _action({"cluster": SERVERS})}
        for path in ("/v1/feedback", "/v2", "/v2/health/live", "/v2/health/ready")
    ]
    found.append(
        {
            "match": {"prefix": "/"},
            "direct_response": {
                "status": 404,
                "body": {"inline_string": '{"error":"no such model or path","hint":"perennial router show"}'},
            },
            "response_headers_to_add": [_header("content-type", "application/json")],
        }
    )
    return {
        "@type": f"{_TYPE}config.route.v3.RouteConfiguration",
        "name": ROUTES,
        # Else a route to a cluster that is not there is accepted and answers 503.
        "validate_clusters": True,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": found}],
    }


def _model_routes(route: Route) -> list[Json]:
    split = {"weighted_clusters": {"clusters": _shares(route)}}
    mirror = {"request_mirror_policies": [_mirror(route)]} if route.mirror else {}
    stable = {"weighted_clusters": {"clusters": [_share(route.model, PoolName.STABLE, TOTAL_WEIGHT, {})]}}
    return [
        # A caller that names a version gets it from the stable pool: candidates are reached by share only.
        {"match": {"prefix": f"/v2/models/{route.model}/versions/"}, "route": _action(stable)},
        {"match": {"path_separated_prefix": f"/v1/models/{route.model}"}, "route": _action({**split, **mirror})},
        {"match": {"path_separated_prefix": f"/v2/models/{route.model}"}, "route": _action({**split, **mirror})},
    ]  # fmt: skip


def _action(target: Json) -> Json:
    return {**target, "timeout": "20s"}


def canary_weight(route: Route) -> int:
    """Of TOTAL_WEIGHT."""
    return round(route.canary_weight / 100 * TOTAL_WEIGHT)


def _shares(route: Route) -> list[Json]:
    """The canary first: with a fixed total, a growing share then only adds to what it already has."""
    weight = canary_weight(route)
    stable = _share(route.model, PoolName.STABLE, TOTAL_WEIGHT - weight, _named(route.stable))
    if route.canary is None:
        return [stable]
    fallback = {
        headers.FALLBACK: route.stable.digest,
        headers.FALLBACK_RELEASE: route.stable.release_id,
    }
    return [_share(route.model, PoolName.CANARY, weight, {**_named(route.canary), **fallback}), stable]


def _named(target: Target) -> dict[str, str]:
    return {headers.DIGEST: target.digest, headers.RELEASE: target.release_id}


def _share(model: str, pool: str, weight: int, sent: Mapping[str, str]) -> Json:
    """Our headers are the router's word: what a client sent under their names is taken out first."""
    return {
        "name": pool_cluster(model, pool),
        "weight": weight,
        "request_headers_to_remove": list(_OURS),
        "request_headers_to_add": [_header(name, value) for name, value in sent.items()],
    }


def _mirror(route: Route) -> Json:
    assert route.canary is not None  # noqa: S101 Route refuses a mirror without one
    sent = {**_named(route.canary), headers.SHADOW: "true"}
    removed = (headers.FALLBACK, headers.FALLBACK_RELEASE)
    return {
        "cluster": shadow_cluster(route.model),
        "request_headers_mutations": [
            *({"remove": name} for name in removed),
            *({"append": _header(name, value)} for name, value in sent.items()),
        ],
    }


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _address(address: Address) -> Json:
    return {"socket_address": {"address": address[0], "port_value": address[1]}}
