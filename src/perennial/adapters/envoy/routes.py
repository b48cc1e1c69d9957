"""Envoy's routes: the split of each model, as shares that carry the digest of the version that must answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from perennial.adapters.envoy.clusters import SERVERS, pool_cluster, retry, shadow_cluster
from perennial.adapters.envoy.config import ROUTES, TYPE, Json
from perennial.adapters.envoy.split import unit_sources
from perennial.core.release.traffic import PoolName, Route, Target
from perennial.serving import headers

TOTAL_WEIGHT = 10_000
"""Shares are set in steps of 0.01 percent; the total never changes, so that a share means the same."""

NOBODY: Mapping[str, str] = MappingProxyType({})

_OURS = (
    headers.DIGEST,
    headers.RELEASE,
    headers.FALLBACK,
    headers.FALLBACK_RELEASE,
    headers.BACKUP,
    headers.BACKUP_RELEASE,
    headers.SHADOW,
    headers.EXPERIMENT,
    headers.ARM,
    headers.UNIT,
    headers.UNIT_COOKIE,
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
    mirror = {"request_mirror_policies": [_mirror(route)]} if route.mirror else {}
    by_name = {"weighted_clusters": {"clusters": [_share(SERVERS, TOTAL_WEIGHT, {})]}}
    return [
        # A caller that names a version gets it from the stable servers and never, not even when they are all
        # gone, from the canary pool: candidates are reached by share only.
        {"match": {"prefix": f"/v2/models/{route.model}/versions/"}, "route": _action(by_name)},
        *(
            one
            for api in ("v1", "v2")
            for one in _drawn({"path_separated_prefix": f"/{api}/models/{route.model}"}, route, mirror)
        ),
    ]


def _drawn(match: Json, route: Route, mirror: Json) -> list[Json]:
    """A route for each way to know the user; without an assignment one, that draws by chance."""
    if route.assignment is None:
        return [
            {"match": match, "route": _action({"weighted_clusters": {"clusters": _shares(route)}, **mirror})}
        ]
    found = []
    for way in unit_sources(route.assignment):
        split = {"weighted_clusters": {"clusters": _shares(route, way.told), "use_hash_policy": True}}
        action = _action({**split, **mirror, "hash_policy": [way.hashed]})
        found.append({"match": {**match, **way.match}, "route": action, **way.answer})
    return found


def _action(target: Json) -> Json:
    """A server that hangs costs a request the time of one try."""
    return {**target, "timeout": "20s", "retry_policy": {**retry(), "per_try_timeout": "4s"}}


def canary_weight(route: Route) -> int:
    """Of TOTAL_WEIGHT."""
    return round(route.canary_weight / 100 * TOTAL_WEIGHT)


def _shares(route: Route, told: Mapping[str, str] = NOBODY) -> list[Json]:
    """The canary first: with a fixed total, a growing share then only adds to what it already has.

    Args:
        told: headers about the user, where users are drawn.
    """
    weight = canary_weight(route)
    backup = {}
    if route.backup is not None:
        backup = {headers.BACKUP: route.backup.digest, headers.BACKUP_RELEASE: route.backup.release_id}
    champion = {**_named(route.stable), **backup, **_arm(route.stable, told)}
    stable = _share(pool_cluster(route.model, PoolName.STABLE), TOTAL_WEIGHT - weight, champion)
    if route.canary is None:
        return [stable]
    fallback = {
        headers.FALLBACK: route.stable.digest,
        headers.FALLBACK_RELEASE: route.stable.release_id,
    }
    candidate = {**_named(route.canary), **fallback, **_arm(route.canary, told)}
    return [_share(pool_cluster(route.model, PoolName.CANARY), weight, candidate), stable]


def _arm(target: Target, told: Mapping[str, str]) -> dict[str, str]:
    return {**told, headers.ARM: target.version} if told else {}


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
