"""Envoy's public listener and its HTTP filters: what a client may send, how much, and how often.

In order: no gRPC but the calls of the service, the rate of a client's address, the headers that only the router may
set, the JWT, the body (read whole before a model server sees the request), the model of a gRPC call, and the router.
"""

from __future__ import annotations

from pathlib import Path

from perennial import limits
from perennial.adapters.envoy import grpc, secrets
from perennial.adapters.envoy.access_log import LOG, USERS, access_log
from perennial.adapters.envoy.config import LISTENER, ROUTES, TYPE, Json, Layout, address, watched
from perennial.serving import headers

EVERY = 1_000_000
"""Requests per second of all clients together; the rate of each address is the setting."""


def listeners(layout: Layout, folder: Path) -> list[Json]:
    connection_manager = {
        "@type": f"{TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "generate_request_id": True,
        # Envoy picks the version by the request id: a client that chose the id would choose the version.
        # It is removed here, because Envoy itself keeps the id of a client that it counts as internal.
        # Our own log takes the bucket from a header: also where a filter answers before the headers of clients go.
        "early_header_mutation_extensions": [_without(headers.REQUEST_ID, headers.BUCKET)],
        "access_log": [access_log(folder / USERS / LOG)],
        "always_set_request_id_in_response": True,
        "http2_protocol_options": {
            "max_concurrent_streams": 64,
            "initial_stream_window_size": limits.CONNECTION_BYTES,
            "initial_connection_window_size": 16 * limits.CONNECTION_BYTES,
        },
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        # No client is trusted as internal: such a client could set timeouts and retries by header.
        "internal_address_config": {"unix_sockets": False},
        "request_timeout": f"{limits.REQUEST_SECONDS}s",
        "request_headers_timeout": f"{limits.HEADERS_SECONDS}s",
        "stream_idle_timeout": f"{limits.STREAM_IDLE_SECONDS}s",
        "max_request_headers_kb": limits.HEADER_KIB,
        "common_http_protocol_options": {
            "idle_timeout": f"{limits.IDLE_SECONDS}s",
            "max_headers_count": limits.HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        "server_header_transformation": "PASS_THROUGH",
        "rds": {"route_config_name": ROUTES, "config_source": watched(folder / "rds" / "routes.json")},
        "local_reply_config": grpc.local_replies(),
        "http_filters": http_filters(layout.client_rate, layout.secret, layout.jwt),
    }
    manager = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": connection_manager,
    }
    secured = {} if layout.tls is None else {"transport_socket": secrets.downstream(folder)}
    return [
        {
            "@type": f"{TYPE}config.listener.v3.Listener",
            "name": LISTENER,
            "address": address(layout.listen),
            "per_connection_buffer_limit_bytes": limits.CONNECTION_BYTES,
            "filter_chains": [{"filters": [manager], **secured}],
        }
    ]


def _without(*names: str) -> Json:
    kind = "http.early_header_mutation.header_mutation"
    return {
        "name": f"envoy.{kind}",
        "typed_config": {
            "@type": f"{TYPE}extensions.{kind}.v3.HeaderMutation",
            "mutations": [{"remove": name} for name in names],
        },
    }


def http_filters(client_rate: int, secret: str, jwt: tuple[str, str, Path] | None = None) -> list[Json]:
    """Return the filters in their order.

    Args:
        client_rate: requests per second of a client's address; twice as many at once.
        secret: text that the model servers require in a header; empty: none is sent.
        jwt: issuer, audience and JWKS file of the JWTs of clients; None: no JWTs.
    """
    return [
        grpc.door(),
        _filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", _rate(client_rate)),
        _filter("header_mutation", "header_mutation.v3.HeaderMutation", {"mutations": _trusted(secret)}),
        *([_filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", _jwt(*jwt))] if jwt is not None else []),
        _filter("buffer", "buffer.v3.Buffer", {"max_request_bytes": limits.BODY_BYTES}),
        grpc.model_of_call(),
        _filter("router", "router.v3.Router", {"suppress_envoy_headers": True}),
    ]


def _filter(name: str, kind: str, options: Json) -> Json:
    config = {"@type": f"{TYPE}extensions.filters.http.{kind}", **options}
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _rate(requests: int) -> Json:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "stat_prefix": "client_rate",
        "filter_enabled": always,
        "filter_enforced": always,
        "token_bucket": _bucket(EVERY),
        "always_consume_default_token_bucket": False,
        "descriptors": [{"entries": [{"key": "remote_address"}], "token_bucket": _bucket(requests)}],
        "max_dynamic_descriptors": limits.CLIENT_ADDRESSES,
        "rate_limits": [{"actions": [{"remote_address": {}}]}],
    }


def _bucket(requests: int) -> Json:
    # Ten fills a second: a client that waits gets on at once.
    fill = max(1, requests // 10)
    return {"max_tokens": 2 * requests, "tokens_per_fill": fill, "fill_interval": "0.1s"}


def _jwt(issuer: str, audience: str, keys: Path) -> Json:
    """Verify the signature, issuer, audience and times of a JWT, and hand its claims to the model servers.

    A request whose token is missing or not valid goes on without claims: it may have an API key, and the model
    server refuses it where it has none.
    """
    provider = {
        "issuer": issuer,
        "audiences": [audience],
        "require_expiration": True,
        "local_jwks": {"filename": str(keys)},
        "forward_payload_header": headers.CLAIMS,
    }
    needs = {"requirements": [{"provider_name": "clients"}, {"allow_missing_or_failed": {}}]}
    return {
        "providers": {"clients": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": needs}}],
    }


def _trusted(secret: str) -> Json:
    """Remove every header by which a client could steer the router or a model server; then set ours."""
    removed = [
        *({"remove": name} for name in headers.of_router()),
        {"remove": "te"},
        *(
            {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
            for prefix in ("x-envoy-", "grpc-")
        ),
    ]
    header = {"key": headers.SECRET, "value": secret}
    set_ours = (
        [{"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}] if secret else []
    )
    public = {"key": headers.PUBLIC, "value": "true"}
    set_ours.append({"append": {"header": public, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}})
    return {"request_mutations": [*removed, *set_ours]}
