"""Envoy's routes: the shares of each model, with the digest of the version that must answer in a header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perennial import limits
from perennial.adapters.envoy.clusters import ABOUT, SERVERS, Protocol, pool_cluster, retry, shadow_cluster
from perennial.adapters.envoy.config import ROUTES, TYPE, Json
from perennial.adapters.envoy.split import bucket_weights, unit_sources
from perennial.core.release.traffic import PoolName, Route, Target
from perennial.serving import headers
from perennial.serving.protocol.grpc import paths

TOTAL_WEIGHT = 10_000
"""Total of the weights; constant, so that a share has steps of 0.01 percent and always the same meaning."""

_OURS = (
    headers.DIGEST, headers.RELEASE, headers.FALLBACK, headers.FALLBACK_RELEASE, headers.BACKUP,
    headers.BACKUP_RELEASE, headers.SHADOW, headers.EXPERIMENT, headers.ARM, headers.UNIT, headers.UNIT_COOKIE,
    headers.SYNTHETIC, headers.BUCKET,
)  # fmt: skip

NOT_FOUND = "5"
"""gRPC status of a call for a model or version that is not served."""

PREDICTIONS = ("/v1/models/{}/predict", "/v2/models/{}/infer")
"""Paths (POST) whose requests are split, mirrored and counted: only a prediction is evidence of a version."""
ABOUT_MODEL = ("/v2/models/{}", "/v2/models/{}/ready")
"""Paths (GET) about the champion."""
REPOSITORY = ("/v2/repository/models/{}/load", "/v2/repository/models/{}/unload")
"""Paths (POST) of the model repository, which the door opens to clients with a right only."""
OF_SERVER = (
    ("/v1/feedback", "POST"),
    ("/v2", "GET"),
    ("/v2/", "GET"),
    ("/v2/repository/index", "POST"),
    ("/v2/health/live", "GET"),
    ("/v2/health/ready", "GET"),
)
"""The public API. A path matches as a whole and with its method; everything else is a 404."""


def route_configuration(routes: Sequence[Route]) -> Json:
    """Return a virtual host with the routes of every model; paths without a model go to any stable server."""
    entries = [
        entry for route in sorted(routes, key=lambda route: route.model) for entry in _model_routes(route)
    ]
    entries += [
        {"match": _match(path, method), "route": _action({"cluster": SERVERS})} for path, method in OF_SERVER
    ]
    entries += [
        {"match": _call(method), "route": _action({"cluster": f"{SERVERS}{Protocol.GRPC}"})}
        for method in (*paths.OF_SERVER, *paths.OF_REPOSITORY)
    ]
    entries.append(
        {
            "match": {"prefix": paths.path(""), "grpc": {}},
            "direct_response": {"status": 404, "body": {"inline_string": "no such model or version"}},
            "response_headers_to_add": [_header("grpc-status", NOT_FOUND)],
        }
    )
    entries.append(
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
        # Otherwise Envoy accepts a route to a missing cluster and answers 503.
        "validate_clusters": True,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                # A larger body would be neither tried on another server nor mirrored.
                "request_body_buffer_limit": limits.BODY_BYTES,
                "routes": entries,
            }
        ],
    }


def _match(path: str, method: str) -> Json:
    return {"path": path, "headers": [{"name": ":method", "string_match": {"exact": method}}]}


def _call(method: str, model: str = "", version: str = "") -> Json:
    """Match a gRPC call by the headers that the filter made of its message.

    Args:
        version: version that the message must name; empty: the message must name none.
    """
    match = _match(paths.path(method), "POST")
    if model:
        match["headers"].append({"name": headers.CALLED_MODEL, "string_match": {"exact": model}})
        of_version = {"string_match": {"exact": version}} if version else {"present_match": False}
        match["headers"].append({"name": headers.CALLED_VERSION, **of_version})
    return {**match, "grpc": {}}


def _model_routes(route: Route) -> list[Json]:
    # Only the champion answers to its name: a candidate gets requests by its share, also while it is loaded into
    # the stable pool.
    model, champion = route.model, route.stable.version
    named = f"/v2/models/{model}/versions/{champion}"
    rest = _Matches(
        named=[
            _match(named + rest, method)
            for rest, method in (("/infer", "POST"), ("", "GET"), ("/ready", "GET"))
        ],
        repository=[_match(path.format(model), "POST") for path in REPOSITORY],
        about=[_match(path.format(model), "GET") for path in ABOUT_MODEL],
        predictions=[_match(path.format(model), "POST") for path in PREDICTIONS],
    )
    calls = _Matches(
        named=[_call(method, model, champion) for method in paths.OF_MODEL],
        repository=[],
        about=[_call(method, model) for method in (paths.MODEL_METADATA, paths.MODEL_READY)],
        predictions=[_call(paths.INFER, model)],
    )
    return [*_protocol_routes(route, rest, Protocol.REST), *_protocol_routes(route, calls, Protocol.GRPC)]  # fmt: skip


@dataclass(frozen=True)
class _Matches:
    """Matches of the requests of a model: those by the champion's name, questions about it, and predictions."""

    named: Sequence[Json]
    repository: Sequence[Json]
    about: Sequence[Json]
    predictions: Sequence[Json]


def _protocol_routes(route: Route, matches: _Matches, protocol: Protocol) -> list[Json]:
    by_name = {"weighted_clusters": {"clusters": [_share(f"{SERVERS}{protocol}", TOTAL_WEIGHT, {})]}}
    of_champion = [_share(f"{ABOUT}{protocol}", TOTAL_WEIGHT, _champion(route))]
    return [
        *({"match": match, "route": _action(by_name)} for match in matches.named),
        *(
            {"match": match, "route": _action({"cluster": f"{SERVERS}{protocol}"})}
            for match in matches.repository
        ),
        *(
            {"match": match, "route": _action({"weighted_clusters": {"clusters": of_champion}})}
            for match in matches.about
        ),
        *(entry for match in matches.predictions for entry in _split_routes(match, route, protocol)),
    ]


def _split_routes(match: Json, route: Route, protocol: Protocol) -> list[Json]:
    """Return a route per source of the unit; without an assignment rule a single route with random shares."""
    mirror = {"request_mirror_policies": [_mirror(route, protocol)]} if route.mirror else {}
    if route.assignment is None:
        shares = {"weighted_clusters": {"clusters": _shares(route, protocol)}}
        return [{"match": match, "route": _action({**shares, **mirror})}]
    named = {"name": route.split} if route.split is not None else {}
    entries = []
    of_users = {"clusters": _shares(route, protocol), "use_hash_policy": True}
    for source in unit_sources(route.assignment):
        action = _action({"weighted_clusters": of_users, **mirror, "hash_policy": [source.hashed]})
        sent = {"request_headers_to_add": [_header(name, value) for name, value in source.sent.items()]}
        entries.append(
            {**named, "match": _both(match, source.match), "route": action, **sent, **source.answer}
        )
    return entries


def _both(match: Json, more: Json) -> Json:
    return {**match, **more, "headers": [*match["headers"], *more.get("headers", ())]}


def _action(target: Json) -> Json:
    """Add timeouts and retries: a server that hangs delays a request by the per-try timeout."""
    return {**target, "timeout": "20s", "retry_policy": {**retry(), "per_try_timeout": "4s"}}


def canary_weight(route: Route) -> int:
    """Return the canary's weight out of TOTAL_WEIGHT."""
    return round(route.canary_weight / 100 * TOTAL_WEIGHT)


def _shares(route: Route, protocol: Protocol) -> list[Json]:
    """Return the shares of the pools.

    The canary is first: with a fixed total, a growing canary share then keeps all its users.
    """
    weight = canary_weight(route)
    champion = {**_champion(route), **_arm(route.stable, route)}
    stable = _pool_share(route, PoolName.STABLE, protocol, TOTAL_WEIGHT - weight, champion)
    if route.canary is None:
        return stable
    fallback = {
        headers.FALLBACK: route.stable.digest,
        headers.FALLBACK_RELEASE: route.stable.release_id,
    }
    candidate = {**_named(route.canary), **fallback, **_arm(route.canary, route)}
    return [*_pool_share(route, PoolName.CANARY, protocol, weight, candidate), *stable]


def _pool_share(
    route: Route, pool: PoolName, protocol: Protocol, weight: int, sent: Mapping[str, str]
) -> list[Json]:
    """Return the share of a pool; in a split of users, cut into their buckets: the whole stays where it was."""
    cluster = pool_cluster(route.model, pool, protocol)
    if route.split is None:
        return [_share(cluster, weight, sent)]
    return [
        _share(cluster, part, {**sent, headers.BUCKET: f"{pool}.{number}"})
        for number, part in enumerate(bucket_weights(weight))
    ]


def _champion(route: Route) -> dict[str, str]:
    """Return the headers that name the champion, and the backup that may answer for it."""
    if route.backup is None:
        return _named(route.stable)
    backup = {headers.BACKUP: route.backup.digest, headers.BACKUP_RELEASE: route.backup.release_id}
    return {**_named(route.stable), **backup}


def _arm(target: Target, route: Route) -> dict[str, str]:
    return {headers.ARM: target.version} if route.assignment is not None else {}


def _named(target: Target) -> dict[str, str]:
    return {headers.DIGEST: target.digest, headers.RELEASE: target.release_id}


def _share(cluster: str, weight: int, sent: Mapping[str, str]) -> Json:
    """Return a share that replaces our headers, so that a client cannot set them; a route adds its own after it."""
    return {
        "name": cluster,
        "weight": weight,
        "request_headers_to_remove": [name for name in _OURS if name not in sent],
        "request_headers_to_add": [_header(name, value) for name, value in sent.items()],
    }


def _mirror(route: Route, protocol: Protocol) -> Json:
    assert route.canary is not None  # noqa: S101 Route refuses a mirror without a canary
    sent = {**_named(route.canary), headers.SHADOW: "true"}
    removed = (headers.FALLBACK, headers.FALLBACK_RELEASE, headers.BACKUP, headers.BACKUP_RELEASE)
    return {
        "cluster": shadow_cluster(route.model, protocol),
        "request_headers_mutations": [
            *({"remove": name} for name in removed),
            *({"append": _header(name, value)} for name, value in sent.items()),
        ],
    }


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
