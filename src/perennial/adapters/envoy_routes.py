"""Envoy's routes: the split of each model, as shares that carry the digest of the version that must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perennial.adapters.envoy_clusters import SERVERS, pool_cluster, retry, shadow_cluster
from perennial.adapters.envoy_config import ROUTES, TYPE, Json
from perennial.core.traffic import PoolName, Route, Target
from perennial.serving import headers

TOTAL_WEIGHT = 10_000
"""Shares are set in steps of 0.01 percent; the total never changes, so that a share means the same."""

_OURS = (
    headers.DIGEST,
    headers.RELEASE,
    headers.FALLBACK,
    headers.FALLBACK_RELEASE,
    headers.BACKUP,
    headers.BACKUP_RELEASE,
    headers.SHADOW,
    headers.SYNTHETIC,
)


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
        "@type": f"{TYPE}config.route.v3.RouteConfiguration",
        "name": ROUTES,
        # Else a route to a cluster that is not there is accepted and answers 503.
        "validate_clusters": True,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": found}],
    }


def _model_routes(route: Route) -> list[Json]:
    split = {"weighted_clusters": {"clusters": _shares(route)}}
    mirror = {"request_mirror_policies": [_mirror(route)]} if route.mirror else {}
    by_name = {"weighted_clusters": {"clusters": [_share(SERVERS, TOTAL_WEIGHT, {})]}}
    return [
        # A caller that names a version gets it from the stable servers and never, not even when they are all
        # gone, from the canary pool: candidates are reached by share only.
        {"match": {"prefix": f"/v2/models/{route.model}/versions/"}, "route": _action(by_name)},
        {"match": {"path_separated_prefix": f"/v1/models/{route.model}"}, "route": _action({**split, **mirror})},
        {"match": {"path_separated_prefix": f"/v2/models/{route.model}"}, "route": _action({**split, **mirror})},
    ]  # fmt: skip


def _action(target: Json) -> Json:
    """A server that hangs costs a request the time of one try."""
    return {**target, "timeout": "20s", "retry_policy": {**retry(), "per_try_timeout": "4s"}}


def canary_weight(route: Route) -> int:
    """Of TOTAL_WEIGHT."""
    return round(route.canary_weight / 100 * TOTAL_WEIGHT)


def _shares(route: Route) -> list[Json]:
    """The canary first: with a fixed total, a growing share then only adds to what it already has."""
    weight = canary_weight(route)
    backup = {}
    if route.backup is not None:
        backup = {headers.BACKUP: route.backup.digest, headers.BACKUP_RELEASE: route.backup.release_id}
    champion = {**_named(route.stable), **backup}
    stable = _share(pool_cluster(route.model, PoolName.STABLE), TOTAL_WEIGHT - weight, champion)
    if route.canary is None:
        return [stable]
    fallback = {
        headers.FALLBACK: route.stable.digest,
        headers.FALLBACK_RELEASE: route.stable.release_id,
    }
    candidate = {**_named(route.canary), **fallback}
    return [_share(pool_cluster(route.model, PoolName.CANARY), weight, candidate), stable]


def _named(target: Target) -> dict[str, str]:
    return {headers.DIGEST: target.digest, headers.RELEASE: target.release_id}


def _share(cluster: str, weight: int, sent: Mapping[str, str]) -> Json:
    """Our headers are the router's word: what a client sent under their names is taken out first."""
    return {
        "name": cluster,
        "weight": weight,
        "request_headers_to_remove": list(_OURS),
        "request_headers_to_add": [_header(name, value) for name, value in sent.items()],
    }


def _mirror(route: Route) -> Json:
    assert route.canary is not None  # noqa: S101 Route refuses a mirror without one
    sent = {**_named(route.canary), headers.SHADOW: "true"}
    removed = (headers.FALLBACK, headers.FALLBACK_RELEASE, headers.BACKUP, headers.BACKUP_RELEASE)
    return {
        "cluster": shadow_cluster(route.model),
        "request_headers_mutations": [
            *({"remove": name} for name in removed),
            *({"append": _header(name, value)} for name, value in sent.items()),
        ],
    }


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
